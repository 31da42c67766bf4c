package queue

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
)

// DeadGroup is dead letters with one reply, which mostly have one cause.
type DeadGroup struct {
	Reason mail.Reason
	// Reply is the reply, or what was wrong. If there are several dead letters, what is
	// each one's own is left out of it.
	Reply string
	Count int
	// Last is when the last of them was buried.
	Last time.Time
	// IDs are the first few, each once.
	IDs []string

	like string
}

// DeadGroups are the groups so far. Its zero value has none.
type DeadGroups struct{ all []*DeadGroup }

// groupIDs is how many ids a group keeps.
const groupIDs = 20

// Add counts a dead letter.
func (g *DeadGroups) Add(l *deadletter.Found) {
	like := alike(l)
	i := slices.IndexFunc(g.all, func(x *DeadGroup) bool { return x.Reason == l.Reason && x.like == like })
	if i < 0 {
		i = len(g.all)
		g.all = append(g.all, &DeadGroup{Reason: l.Reason, Reply: l.Error, like: like})
	}
	x := g.all[i]
	if x.Count++; x.Count > 1 {
		x.Reply = like
	}
	if l.At.After(x.Last) {
		x.Last = l.At
	}
	if len(x.IDs) < groupIDs && !slices.Contains(x.IDs, l.Key.ID) {
		x.IDs = append(x.IDs, l.Key.ID)
	}
}

// Sorted are the groups, the largest first.
func (g *DeadGroups) Sorted() []*DeadGroup {
	return slices.SortedStableFunc(slices.Values(g.all), func(a, b *DeadGroup) int {
		return cmp.Or(b.Count-a.Count, b.Last.Compare(a.Last))
	})
}

// alike is the reply without what differs from mail to mail: the address, and the
// relay's names for a session or a message.
func alike(l *deadletter.Found) string {
	reply := l.Error
	for _, r := range l.Recipients {
		reply = strings.ReplaceAll(reply, r.Address, "…")
	}
	var b strings.Builder
	for reply != "" {
		end := strings.IndexFunc(reply, func(r rune) bool { return !wordRune(r) })
		if end < 0 {
			end = len(reply)
		}
		if word := reply[:end]; isName(word) {
			b.WriteString("…")
		} else {
			b.WriteString(word)
		}
		reply = reply[end:]
		next := strings.IndexFunc(reply, wordRune)
		if next < 0 {
			next = len(reply)
		}
		b.WriteString(reply[:next])
		reply = reply[next:]
	}
	return b.String()
}

func wordRune(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_' }

// isName reports a word that no language has: long, and with digits in it.
func isName(word string) bool {
	digits := 0
	for _, r := range word {
		if unicode.IsDigit(r) {
			digits++
		}
	}
	return len(word) >= 8 && digits >= 2
}
