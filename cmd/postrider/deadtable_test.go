package main

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// deadOf is a dead letter to one recipient.
func deadOf(id, to string, reason mail.Reason, reply string, minutes int) *deadletter.Found {
	at := time.Date(2030, 1, 2, 3, minutes, 0, 0, time.UTC)
	d := &wire.DeadLetter{Copy: wire.Copy{Key: wire.Key{ID: id}}, Reason: reason, Error: reply}
	return &deadletter.Found{DeadLetter: d, At: at, Recipients: []mail.Recipient{{Address: to}}}
}

func tableOf(t *testing.T, each bool, width int, all ...*deadletter.Found) string {
	t.Helper()
	x := &deadTable{each: each}
	for _, l := range all {
		x.add(l)
	}
	var b strings.Builder
	if err := x.write(&b, paint{}, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestDeadGroups: on a terminal, what has one cause is one entry, whatever address or
// session the reply names.
func TestDeadGroups(t *testing.T) {
	t.Parallel()
	var all []*deadletter.Found
	for i := range 1200 {
		to := fmt.Sprintf("user%d@example.net", i)
		all = append(all, deadOf(fmt.Sprint("m", i), to, mail.ReasonFailed, "550 5.1.1 <"+to+">: no such user, session 4f8a12-"+fmt.Sprint(10000+i), i%50))
	}
	all = append(all,
		deadOf("b1", "x@y", mail.ReasonBadEnvelope, "sbuject: unknown field", 1), deadOf("x1", "a@b", mail.ReasonExhausted, "450 4.2.1 try later", 1),
		deadOf("x2", "c@d", mail.ReasonExhausted, "451 4.3.0 try later", 1), deadOf("x1", "e@f", mail.ReasonExhausted, "450 4.2.1 try later", 2))
	zone := time.Date(2030, 1, 2, 3, 0, 0, 0, time.UTC).Local().Format("Z07:00")
	got := tableOf(t, false, 100, all...)
	for _, want := range []string{
		"count  reason        last", "1,200  failed        2030-", zone + "  550 5.1.1 <…>: no such user, session …\n       m0, m1, m2, ", " more\n",
		"    2  exhausted ", "450 4.2.1 try later\n       x1 and 1 more\n", "    1  exhausted ", "451 4.3.0 try later\n       x2\n", "    1  bad-envelope  ",
		"\n\n1,204 dead letters, 4 replies; --all lists each",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing:\n%s", want, got)
		}
	}
	if strings.Index(got, "1,200") > strings.Index(got, "    2  ") {
		t.Errorf("the largest is not first:\n%s", got)
	}
	if one := tableOf(t, false, 150, all[7]); !strings.Contains(one, "<user7@example.net>: no such user, session 4f8a12-10007") {
		t.Errorf("one alone has its reply:\n%s", one)
	}
}

// TestDeadTableFits into the terminal, also a narrow one, and cuts an id only if it must.
func TestDeadTableFits(t *testing.T) {
	t.Parallel()
	uuid := "0b4e7f5a-6f5c-4b51-9d3e-5e8a3c1f2d7b"
	all := []*deadletter.Found{
		deadOf(uuid, "ann@example.net", mail.ReasonFailed, "550 5.1.1 "+strings.Repeat("no such user ", 30), 1),
		deadOf("m2", "grüße@example.net", mail.ReasonBadEnvelope, "sbuject: unknown field", 2),
	}
	for _, each := range []bool{true, false} {
		for _, width := range []int{60, 80, 100, 200} {
			got := tableOf(t, each, width, all...)
			rows, _, _ := strings.Cut(got, "\n\n") // a sentence may wrap
			for line := range strings.Lines(rows) {
				if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > max(width, 75) {
					t.Errorf("all %v: %d characters of %d: %s", each, n, width, line)
				}
			}
			if strings.Contains(got, uuid) != (width == 200 || !each) {
				t.Errorf("all %v, %d wide:\n%s", each, width, got)
			}
		}
	}
	got := strings.Split(tableOf(t, true, 120, all...), "\n")
	want := -1
	for i, column := range []string{"reason", "failed", "bad-envelope"} {
		before, _, ok := strings.Cut(got[i], column)
		if at := utf8.RuneCountInString(before); !ok || want >= 0 && at != want {
			t.Errorf("%s is not in its column:\n%s", column, strings.Join(got, "\n"))
		} else {
			want = at
		}
	}
	if !strings.HasSuffix(got[0], "reply") || !strings.Contains(got[2], queue.Clock(all[1].At)) {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
}
