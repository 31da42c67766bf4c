package queue

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// lostAfter is how long a worker may be silent. It writes every ten seconds.
	lostAfter     = 30 * time.Second
	announceEvery = 10 * time.Second
	// workersFor bounds the reading: a broker that does not permit it does not answer.
	workersFor = 2 * time.Second
)

// Worker is what a worker said last of itself, and when, by the broker's clock.
type Worker struct {
	wire.Worker
	// Lost: it should have been heard of since. It was killed, or is cut off from the
	// broker.
	Lost bool `json:"lost,omitzero"`
	// Replaced: it is lost, and a newer one runs on its host.
	Replaced bool `json:"replaced,omitzero"`
}

// takes reports that it takes mail, or would if its relay were up.
func (w *Worker) takes() bool { return !w.Lost && w.State != wire.WorkerStopping }

// Workers are those that keep their state at the broker, by host.
type Workers struct {
	All []Worker `json:"workers"`
	// Unread says why there may be others; empty if there are none.
	Unread string `json:"workers_unread,omitzero"`
}

// Workers reads what workers say of themselves, with one request.
func (q *Queue) Workers(ctx context.Context) *Workers {
	ctx, cancel := context.WithTimeout(ctx, workersFor)
	defer cancel()
	entries, err := q.store.Kept(ctx, wire.StreamState, wire.WorkerSubjects)
	var all []*wire.Worker
	for _, m := range entries {
		if stream.Outlived(m, q.now()) {
			continue
		}
		x, unknown := wire.DecodeWorker(m.Data)
		if unknown != nil {
			err = unknown
			continue
		}
		x.At = m.Time
		all = append(all, x)
	}
	w := workersAt(q.now(), all)
	if err != nil {
		w.Unread = stream.Classify(err).Error()
	}
	return w
}

// workersAt finds out which of them are lost. One that was started again on its host is
// left out as soon as what it had in flight has come again.
func workersAt(now time.Time, all []*wire.Worker) *Workers {
	lost := func(w *wire.Worker) bool {
		replaced := func(x *wire.Worker) bool { return slices.Contains(x.Replaces, w.ID) }
		return now.Sub(w.At) > lostAfter || slices.ContainsFunc(all, replaced)
	}
	w := &Workers{All: []Worker{}}
	for _, old := range all {
		again := func(x *wire.Worker) bool { return x.Host == old.Host && x.Started.After(old.At) && !lost(x) }
		x := Worker{Worker: *old, Lost: lost(old)}
		x.Replaced = x.Lost && slices.ContainsFunc(all, again)
		if !x.Replaced || x.returns().After(now) {
			w.All = append(w.All, x)
		}
	}
	slices.SortFunc(w.All, func(a, b Worker) int {
		return cmp.Or(strings.Compare(a.Host, b.Host), strings.Compare(a.ID, b.ID))
	})
	return w
}

// of are those that take mail of the lane, or would if their relay were up.
func (w *Workers) of(lane wire.Lane) []Worker {
	return w.only(func(x *Worker) bool { return x.takes() && slices.Contains(x.Lanes, lane) })
}

// only are those of which that is true; none if w is nil.
func (w *Workers) only(which func(*Worker) bool) (some []Worker) {
	if w == nil {
		return nil
	}
	for i := range w.All {
		if which(&w.All[i]) {
			some = append(some, w.All[i])
		}
	}
	return some
}

// hosts are the names of workers.
func hosts(workers []Worker) (names []string) {
	for _, w := range workers {
		names = append(names, w.Host)
	}
	return names
}

// absence says why no worker takes mail of the lane.
func (w *Workers) absence(lane wire.Lane) string {
	var others []Worker
	for i := range w.All {
		switch x := &w.All[i]; {
		case x.Replaced:
		case !slices.Contains(x.Lanes, lane):
			others = append(others, *x)
		case x.Lost:
			return silence([]Worker{*x})
		default:
			return x.Host + " is stopping"
		}
	}
	if others = slices.DeleteFunc(others, func(x Worker) bool { return x.Lost }); len(others) > 0 {
		return "those that run have other lanes (" + Names(hosts(others)) + ")"
	}
	return "none is running"
}

// Start says what to do so that a worker takes mail of the lane.
func (w *Workers) Start(lane wire.Lane) string {
	if len(w.only((*Worker).takes)) > 0 && len(w.of(lane)) == 0 {
		return "add " + string(lane) + " to POSTRIDER_LANES of a worker, and start it again"
	}
	return StartWorker
}

// Idle says why workers ask for no mail of the lane, if they ask for none. outage: their
// relay is not up, which is a finding of its own.
func (w *Workers) Idle(lane wire.Lane) (why string, outage bool) {
	switch running := w.of(lane); {
	case len(running) > 0 && w.outage(lane) != nil:
		return "their relay is not up", true
	case len(running) > 0:
		return "those of this lane run and their relay is up (" + Names(hosts(running)) + ")", false
	case w.Unread != "":
		return "none of this lane runs, or their relay is at fault", false
	}
	return w.absence(lane), false
}

// silence says since when workers have not been heard of.
func silence(lost []Worker) string {
	first := slices.MinFunc(lost, func(a, b Worker) int { return a.At.Compare(b.At) })
	if len(lost) == 1 {
		return fmt.Sprintf("worker %s has not been heard of since %s: it was killed, or is cut off from the broker", first.Host, Clock(first.At))
	}
	return fmt.Sprintf("%s have not been heard of since %s: they were killed, or are cut off from the broker", Counted(uint64(len(lost)), "worker"), Clock(first.At))
}

// Words say how many run, on which hosts, and what was in flight when they started. lanes
// are all lanes.
func (w *Workers) Words(lanes []Lane, now time.Time) string {
	switch running := w.only((*Worker).takes); {
	case len(running) > 0:
		words := []string{fmt.Sprintf("%d (%s)", len(running), Names(hosts(running)))}
		for _, x := range running {
			if left := x.left(now); left != "" && x.inFlight(lanes) {
				words = append(words, left)
			}
		}
		return strings.Join(words, "; ")
	case w.Unread != "":
		return "unknown"
	case slices.ContainsFunc(lanes, func(l Lane) bool { return l.taken() }):
		return "mail is taken, by a worker that says nothing of itself"
	}
	return "none is running"
}

// Judge gives the findings about the workers and about each relay that is not up for
// all of them. lanes are all lanes.
func (w *Workers) Judge(lanes []Lane, now time.Time) []Finding {
	var all []Finding
	if w.Unread != "" {
		all = append(all, Finding{Warning, "workers", wire.StreamState, "could not be read: " + w.Unread, "use the postrider of the workers' version; permit this user what deploy/k8s has in accounts.conf; a worker makes the stream when it starts"})
	}
	for _, x := range w.only(func(x *Worker) bool { return x.Replaced && x.inFlight(lanes) }) {
		all = append(all, Finding{Warning, "workers", x.Host, fmt.Sprintf("a worker (started %s) ended without settling what it had in flight, and another one was started; %s", Clock(x.Started), x.left(now)), "look why it ended, in its log; nothing else has to be done"})
	}
	lost := w.only(func(x *Worker) bool { return x.Lost && !x.Replaced })
	if len(lost) > 0 {
		all = append(all, Finding{Warning, "workers", Names(hosts(lost)), silence(lost), "look whether it runs, and at its log; what it had in flight goes to another worker after ack wait"})
	}
	running := w.only((*Worker).takes)
	if len(all) == 0 {
		f := Finding{OK, "workers", "broker", w.Words(lanes, now), ""}
		if len(running) == 0 {
			f.Level, f.Do = Note, StartWorker
		}
		all = append(all, f)
	}
	all = append(all, judgeRules(running)...)
	all = append(all, judgeHeld(running)...)
	for _, o := range outages(running) {
		all = append(all, o.judge(w, lanes, now))
	}
	return all
}

// judgeRules finds the workers that use former rules, because their file is wrong now.
func judgeRules(workers []Worker) (all []Finding) {
	by := map[string][]string{}
	for _, w := range workers {
		if w.RulesFault != "" {
			by[w.RulesFault] = append(by[w.RulesFault], w.Host)
		}
	}
	for _, fault := range slices.Sorted(maps.Keys(by)) {
		all = append(all, Finding{Problem, "rules", Names(by[fault]), fault + "; the former rules are in force, and a worker that starts with this file fails", "correct the file; postrider relay check examines it"})
	}
	return all
}
