package queue

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
)

// What is said of a dead letter.

// AddressesOf are those of its recipients; none if its envelope cannot be read.
func AddressesOf(l *deadletter.Found) []string {
	to := make([]string, len(l.Recipients))
	for i, r := range l.Recipients {
		to[i] = r.Address
	}
	return to
}

// RecipientsOf are all of them as text, or why they are not known.
func RecipientsOf(l *deadletter.Found) string {
	return cmp.Or(strings.Join(AddressesOf(l), ", "), "unknown recipients: its envelope cannot be read")
}

// RecipientOf is the address of the dead letter's recipient with the index.
func RecipientOf(l *deadletter.Found, index int) string {
	for _, r := range l.Recipients {
		if r.Index == index {
			return r.Address
		}
	}
	return nameless(index)
}

// nameless is a recipient whose address is not known.
func nameless(index int) string { return fmt.Sprintf("recipient %d", index) }

// ReplaysOf says how often it was replayed and when last; empty for never.
func ReplaysOf(l *deadletter.Found) string {
	if l.Replays == 0 {
		return ""
	}
	return Counted(uint64(l.Replays), "time") + ", last at " + Clock(l.Replayed)
}

// Remedy says what to do about a dead letter; program is how postrider is typed. A
// replay sends the same bytes, so it cannot help if they are what is wrong.
func Remedy(program string, reason mail.Reason, id string) string {
	id = mail.Quote(id)
	switch reason {
	case mail.ReasonBadEnvelope, mail.ReasonTooLarge, mail.ReasonLoop:
		return fmt.Sprintf("its envelope as it was published: %[1]s dead show %[2]s --body; correct it and publish it again, then: %[1]s dead discard %[2]s", program, id)
	}
	return fmt.Sprintf("send it again: %s dead replay %s", program, id)
}
