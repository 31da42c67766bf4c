package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/wire"
)

// write shows a message's way: whose it is, what happened, and where each
// recipient stands.
func (v *view) write(out io.Writer, p paint, now time.Time) error {
	var b strings.Builder
	field := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s %s\n", p.dim(fmt.Sprintf("%-8s", name)), value)
		}
	}
	_, seq, _ := strings.Cut(v.Origin, "-")
	field("message", p.bold(v.ID))
	field("queued", fmt.Sprintf("%s as %s/%s, origin %s", from(now, v.Enqueued), v.Lane, seq, v.Origin))
	field("from", orElse(v.From, "<>"))
	to := make([]string, len(v.Recipients))
	for i, f := range v.Recipients {
		to[i] = f.Address
	}
	field("to", names(to))
	field("subject", v.Subject)
	field("size", fmt.Sprintf("%s bytes", thousands(uint64(v.Size))))
	field("tags", strings.Join(v.Tags, ", "))
	v.history(&b, p)
	b.WriteString(p.bold("Now") + "\n")
	for _, g := range v.together() {
		fmt.Fprintf(&b, "  %s\n      %s\n", names(g.addresses), p.state(g.is))
	}
	if v.Next != "" {
		fmt.Fprintf(&b, "  %s\n", p.state(v.Next))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// state colours what a sentence begins with.
func (p paint) state(s string) string {
	switch {
	case strings.HasPrefix(s, "delivered"):
		return p.green(s)
	case strings.HasPrefix(s, "dead"):
		return p.red(s)
	}
	return p.yellow(s)
}

type sharedFate struct {
	is        string
	addresses []string
}

// together groups recipients that share a fate.
func (v *view) together() []*sharedFate {
	var all []*sharedFate
	for _, f := range v.Recipients {
		i := slices.IndexFunc(all, func(g *sharedFate) bool { return g.is == f.Is })
		if i < 0 {
			i = len(all)
			all = append(all, &sharedFate{is: f.Is})
		}
		all[i].addresses = append(all[i].addresses, f.Address)
	}
	return all
}

// history is attempts and decisions in the order in which they came: each
// attempt before the first record that knows of it. Their times would not do:
// an attempt's is the worker's clock, a record's the broker's.
func (v *view) history(b *strings.Builder, p paint) {
	if len(v.Attempts)+len(v.Events) > 0 {
		b.WriteString(p.bold("History") + "\n")
	}
	address := func(index int) string {
		for _, f := range v.Recipients {
			if f.Index == index {
				return f.Address
			}
		}
		return fmt.Sprintf("recipient %d", index)
	}
	left := slices.Clone(v.Attempts)
	for _, r := range v.Events {
		left = slices.DeleteFunc(left, func(a wire.Attempt) bool {
			known := slices.ContainsFunc(r.Attempts, func(x wire.Attempt) bool { return sameAttempt(a, x) })
			if known {
				writeAttempt(b, p, a, address)
			}
			return known
		})
		if line := decision(r); line != "" {
			fmt.Fprintf(b, "  %s  %s\n", p.dim(clock(r.At)), line)
		}
	}
	for _, a := range left {
		writeAttempt(b, p, a, address)
	}
}

// decision is what a record says that no attempt says.
func decision(r *wire.Record) string {
	whose := ""
	if r.Recipient != wire.All && len(r.Recipients) > 0 {
		whose = " for " + r.Recipients[0].Address
	}
	switch r.Event {
	case wire.EventScheduled:
		return "scheduled for " + clock(r.Due) + ", its send_at"
	case wire.EventReplayed:
		return fmt.Sprintf("replayed by an operator%s, time %d: a fresh budget of attempts", whose, r.Replays)
	case wire.EventDiscarded:
		return "discarded by an operator" + whose
	case wire.EventRequeued:
		return "delayed" + whose + ", the relay or the worker was at fault: no attempt is counted, next one at " + clock(r.Due)
	case wire.EventDelivered:
		return ""
	}
	switch {
	case len(r.Recipients) == 0:
		return fmt.Sprintf("buried unread, %s: %s", r.Reason, r.Error)
	case r.Has(wire.StatePending):
		return "more transactions follow for those that are left"
	case r.Has(wire.StateDead) && r.Has(wire.StateScheduled):
		return fmt.Sprintf("%s for some, who lie dead; deferred for others, next attempt at %s", r.Event, clock(r.Due))
	case r.Has(wire.StateDead):
		return fmt.Sprintf("%s%s: buried as a dead letter%s", r.Event, whose, sentence(r.Error))
	}
	return fmt.Sprintf("%s%s, next attempt at %s", r.Event, whose, clock(r.Due))
}

// writeAttempt is one attempt: where it went, how long it took, and what each
// recipient was told.
func writeAttempt(b *strings.Builder, p paint, a wire.Attempt, address func(int) string) {
	name := fmt.Sprintf("attempt %d", a.N)
	if !a.Counted {
		name = "attempt, not counted"
	}
	var took []string
	for _, x := range []struct {
		name string
		ms   int64
	}{{"connect", a.ConnectMS}, {"data", a.DataMS}, {"reply", a.DotMS}} {
		if x.ms > 0 {
			took = append(took, fmt.Sprintf("%s %d ms", x.name, x.ms))
		}
	}
	where := "nothing was sent"
	if a.Session != "" {
		where = "relay " + a.Relay + ", session " + a.Session
	}
	if len(took) == 0 {
		took = []string{"under 1 ms"}
	}
	fmt.Fprintf(b, "  %s  %s: %s, %s\n", p.dim(clock(a.At)), name, where, strings.Join(took, ", "))
	for _, o := range a.Outcomes {
		to := make([]string, len(o.Recipients))
		for i, x := range o.Recipients {
			to[i] = address(x)
		}
		at := ""
		if o.Stage != "" {
			at = " at " + strings.ToUpper(string(o.Stage))
		}
		fmt.Fprintf(b, "      %s  %s%s%s\n", names(to), p.class(o.Class), at, sentence(words(o)))
	}
}

func (p paint) class(c mail.Class) string {
	switch c {
	case mail.Delivered:
		return p.green(string(c))
	case mail.Failed, mail.Uncertain:
		return p.red(string(c))
	}
	return p.yellow(string(c))
}
