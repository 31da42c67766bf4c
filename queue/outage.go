package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postrider/postrider/wire"
)

// outage is a relay that workers cannot use, or only for one message at a time.
type outage struct {
	// Relay is as the worker says that met the fault first, but for Next: the first of all.
	wire.Relay
	// of are the hosts of the workers that say so, users counts all that use the relay.
	of    []string
	users int
}

// outages are those that any of the workers meets, by relay.
func outages(workers []Worker) (all []*outage) {
	for _, w := range workers {
		i := slices.IndexFunc(all, func(o *outage) bool { return o.Name == w.Relay.Name })
		if i < 0 {
			i = len(all)
			all = append(all, &outage{Relay: w.Relay})
		}
		all[i].add(w)
	}
	all = slices.DeleteFunc(all, func(o *outage) bool { return len(o.of) == 0 })
	slices.SortFunc(all, func(a, b *outage) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// isDown reports that the relay gets no mail, or one at a time. An entry without a state says
// nothing.
func isDown(r wire.Relay) bool { return r.State == wire.RelayDown || r.State == wire.RelayTrial }

func (o *outage) add(w Worker) {
	o.users++
	r := w.Relay
	if !isDown(r) {
		return
	}
	o.of = append(o.of, w.Host)
	next := o.Next
	if next.IsZero() || !r.Next.IsZero() && r.Next.Before(next) {
		next = r.Next
	}
	worse := o.State == wire.RelayUp || o.State == wire.RelayTrial && r.State == wire.RelayDown
	if worse || o.State == r.State && r.Since.Before(o.Since) {
		o.Relay = r
	}
	o.Next = next
}

// outage is what keeps all workers of the lane from sending its mail; nil for nothing.
func (w *Workers) outage(lane wire.Lane) *outage {
	takers := w.of(lane)
	if len(takers) == 0 || slices.ContainsFunc(takers, func(x Worker) bool { return !isDown(x.Relay) }) {
		return nil
	}
	return outages(takers)[0]
}

// judgeHeld finds the senders whose mail a relay refuses while it accepts that of others.
func judgeHeld(workers []Worker) (all []Finding) {
	held := map[string][]string{}
	for _, w := range workers {
		held[w.Relay.Name] = append(held[w.Relay.Name], w.Relay.Held...)
	}
	for _, name := range slices.Sorted(maps.Keys(held)) {
		slices.Sort(held[name])
		for _, what := range slices.Compact(held[name]) {
			all = append(all, Finding{Problem, "relay", name, "refuses mail of " + what + "; it is put off, and no attempt is counted", "see what the reply says of this sender, ask the relay's operator, or say what it means by a rule (POSTRIDER_RELAYS; postrider relay check); it is tried again by itself"})
		}
	}
	return all
}

// is says what happened, and since when.
func (o *outage) is() string {
	s := o.Words + "; down since " + Clock(o.Since)
	if o.State == wire.RelayTrial {
		s = o.Words + ", since " + Clock(o.Since) + "; it accepts sessions again, and one message at a time is sent"
	}
	if n := len(o.of); n < o.users {
		s += fmt.Sprintf("; so say %d of %d workers (%s)", n, o.users, Names(o.of))
	}
	return s
}

// next says when the relay is tried again.
func (o *outage) next(now time.Time) string {
	if o.Next.After(now) {
		return "next try in " + Span(max(o.Next.Sub(now), time.Second))
	}
	return "it is being tried now"
}

// judge is a problem if all workers of a lane say so.
func (o *outage) judge(w *Workers, lanes []Lane, now time.Time) Finding {
	f := Finding{Warning, "relay", o.Name, o.is(), o.next(now) + "; " + o.Hint}
	if o.Alarm {
		f.Do = o.Hint + "; " + o.next(now)
	}
	var ready uint64
	for i := range lanes {
		l := &lanes[i]
		if x := w.outage(l.Lane); x == nil || x.Name != o.Name {
			continue
		}
		ready += l.Ready()
		if o.State == wire.RelayDown {
			f.Level = Problem
		}
	}
	switch {
	case ready == 1:
		f.Found += "; 1 message waits, and no attempt is counted"
	case ready > 1:
		f.Found += fmt.Sprintf("; %s messages wait, and no attempt is counted", Thousands(ready))
	}
	return f
}
