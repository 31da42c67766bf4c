package queue

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
)

func TestDeadWords(t *testing.T) {
	t.Parallel()
	none, some := buried("0"), buried("0")
	some.Recipients = []mail.Recipient{{Index: 2, Address: "ann@x.test"}, {Index: 5, Address: "bob@x.test"}}
	some.Replays, some.Replayed = 1, at
	often := buried("0")
	often.Replays, often.Replayed = 2, at
	for name, c := range map[string]struct{ got, want string }{
		"addresses":         {strings.Join(AddressesOf(some), " "), "ann@x.test bob@x.test"},
		"no addresses":      {strings.Join(AddressesOf(none), " "), ""},
		"recipients":        {RecipientsOf(some), "ann@x.test, bob@x.test"},
		"no recipients":     {RecipientsOf(none), "unknown recipients: its envelope cannot be read"},
		"recipient":         {RecipientOf(some, 5), "bob@x.test"},
		"another recipient": {RecipientOf(some, 1), "recipient 1"},
		"replayed":          {ReplaysOf(some), "1 time, last at " + Clock(at)},
		"replayed twice":    {ReplaysOf(often), "2 times, last at " + Clock(at)},
		"never replayed":    {ReplaysOf(none), ""},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", name, c.got, c.want)
		}
	}
}

// TestRemedy: a replay is no help if the bytes of the message are what is wrong.
func TestRemedy(t *testing.T) {
	t.Parallel()
	const replay, correct = "send it again: x postrider dead replay 'an id'", "its envelope as it was published: x postrider dead show 'an id' --body; " +
		"correct it and publish it again, then: x postrider dead discard 'an id'"
	for _, r := range mail.Reasons {
		want := replay
		if r == mail.ReasonBadEnvelope || r == mail.ReasonTooLarge || r == mail.ReasonLoop {
			want = correct
		}
		if got := Remedy("x postrider", r, "an id"); got != want {
			t.Errorf("%s: %s, want %s", r, got, want)
		}
	}
}
