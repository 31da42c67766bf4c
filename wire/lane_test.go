package wire

import (
	"testing"
	"time"
)

// TestSources: every stream of a lane is found again by its name, and each subject
// has one stream.
func TestSources(t *testing.T) {
	t.Parallel()
	k := FreshKey("a-b", time.Unix(1700000000, 1), 7)
	sources := k.Lane.Sources()
	for _, s := range sources {
		if l, ok := LaneOfStream(s.Stream); !ok || l != k.Lane {
			t.Errorf("%s is a stream of lane %q, %v", s.Stream, l, ok)
		}
	}
	for subject, fresh := range map[string]bool{
		k.Lane.SendSubject(): true, k.Lane.TenantSubject("t"): true,
		k.CopySubject(CopyLater): false, k.CopySubject(CopyDue): false,
	} {
		var takes []Source
		for _, s := range sources {
			if s.Takes(subject) {
				takes = append(takes, s)
			}
		}
		if len(takes) != 1 || takes[0].Fresh != fresh {
			t.Errorf("%s is taken by %+v", subject, takes)
		} else if delivered := covers(takes[0].Filter, subject); delivered == (subject == k.CopySubject(CopyLater)) {
			t.Errorf("%s is delivered: %v", subject, delivered)
		}
	}
	for _, name := range []string{"", StreamRecord, "MAIL_SEND_", "MAIL_SEND_A_99", "MAIL_SEND_A_", "MAIL_SEND_a", "MAIL_LATER_A_2", "XMAIL_SEND_A"} {
		if l, ok := LaneOfStream(name); ok {
			t.Errorf("%q is a stream of lane %s", name, l)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		filter, subject string
		want            bool
	}{
		{"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.b", "a", false}, {"a", "a.b", false},
		{"a.*", "a.b", true}, {"a.*", "a", false}, {"a.*", "a.b.c", false}, {"*.b", "a.b", true},
		{"a.>", "a.b.c", true}, {"a.>", "a", false}, {">", "a", true},
	} {
		if covers(c.filter, c.subject) != c.want {
			t.Errorf("%s covers %s: want %v", c.filter, c.subject, c.want)
		}
	}
}
