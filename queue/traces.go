package queue

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// Bar shows progress to a person.
type Bar interface {
	Step()
	End()
}

// Watch makes a bar for a part of the work. total is -1 if it is not known. A nil
// Watch makes bars that show nothing.
type Watch func(total int64, what string) Bar

func (w Watch) bar(total int64, what string) Bar {
	if w == nil {
		return noBar{}
	}
	return w(total, what)
}

type noBar struct{}

func (noBar) Step() {}
func (noBar) End()  {}

// Traces are the messages of one name.
type Traces struct {
	// Messages has the newest first.
	Messages []*Trace
	// Unsearched is how many unsettled messages were not searched for another one
	// of that id, because there are too many.
	Unsearched uint64
}

// searchAll is the number of unsettled messages up to which they are searched for
// another one of an id that was found elsewhere, which is rare.
const searchAll = 2000

// Traces finds the messages of that name: an id, an origin, or lane/sequence as
// publish prints it. Several messages may have one id.
func (q *Queue) Traces(ctx context.Context, name string, watch Watch) (*Traces, error) {
	f := &finder{Queue: q, watch: watch, found: map[string]*evidence{}}
	unsearched, err := f.find(ctx, name)
	if err != nil {
		return nil, err
	}
	lanes := map[wire.Lane]*Lane{}
	t := &Traces{Unsearched: unsearched}
	for _, e := range f.sorted() {
		lane := e.lane()
		if lanes[lane] == nil && len(e.live) > 0 {
			// That a message waits may be due to its lane.
			if lanes[lane], err = q.Lane(ctx, lane, q.now()); err != nil {
				return nil, err
			}
		}
		t.Messages = append(t.Messages, e.trace(q.now(), lanes[lane]))
	}
	return t, nil
}

// finder collects what is known of messages, by their origin.
type finder struct {
	*Queue
	watch Watch
	found map[string]*evidence
}

func (f *finder) of(origin string) *evidence {
	if f.found[origin] == nil {
		f.found[origin] = &evidence{origin: origin}
	}
	return f.found[origin]
}

func (f *finder) addLive(messages ...*Message) {
	for _, m := range messages {
		e := f.of(m.Key.Origin)
		e.live = append(e.live, m)
	}
}

// sorted are the messages, the newest first.
func (f *finder) sorted() []*evidence {
	all := make([]*evidence, 0, len(f.found))
	for _, e := range f.found {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *evidence) int {
		x, _ := wire.OriginTime(a.origin)
		y, _ := wire.OriginTime(b.origin)
		return cmp.Or(y.Compare(x), strings.Compare(a.origin, b.origin))
	})
	return all
}

var laneAndSequence = regexp.MustCompile(`^([a-z0-9-]{1,32})/([0-9]{1,19})$`)

// find collects what there is, by any kind of name.
func (f *finder) find(ctx context.Context, name string) (unsearched uint64, err error) {
	if m := laneAndSequence.FindStringSubmatch(name); m != nil {
		origin, err := f.originAt(ctx, wire.Lane(m[1]), m[2])
		if err != nil {
			return 0, err
		}
		name = cmp.Or(origin, name)
	}
	if err := f.settled(ctx, name); err != nil {
		return 0, err
	}
	if _, ok := wire.OriginTime(name); ok {
		m, err := f.FreshByOrigin(ctx, name)
		switch {
		case err == nil:
			f.addLive(m)
			return 0, nil
		case !errors.Is(err, stream.ErrNotFound):
			return 0, err
		case len(f.found) > 0:
			return 0, nil
		}
	}
	return f.untouched(ctx, name)
}

// settled collects records, log entries, copies and dead letters.
func (f *finder) settled(ctx context.Context, name string) error {
	if err := f.recorded(ctx, name); err != nil {
		return err
	}
	copies, err := f.Copies(ctx, name)
	if err != nil {
		return err
	}
	f.addLive(copies...)
	for l, err := range f.dead.ByID(ctx, name) {
		if err != nil {
			return err
		}
		if l.Key.ID == name || l.Key.Origin == name {
			e := f.of(l.Key.Origin)
			e.dead = append(e.dead, l)
		}
	}
	return nil
}

// recorded collects records and log entries.
func (f *finder) recorded(ctx context.Context, name string) error {
	records, err := f.journal.Records(ctx, name)
	if err != nil {
		return err
	}
	for r, err := range f.log.Search(ctx, journal.Filter{ID: name}) {
		if err != nil {
			return err
		}
		records = append(records, r)
	}
	seen := map[string]bool{}
	for _, r := range records {
		// A record and its entry in the log are the same bytes.
		b, err := r.Encode()
		if err != nil {
			return err
		}
		if (r.ID == name || r.Origin == name) && !seen[string(b)] {
			seen[string(b)] = true
			e := f.of(r.Origin)
			e.records = append(e.records, r)
		}
	}
	return nil
}

// originAt is the origin of what a producer published as lane/sequence: from the
// message while it is there, then from the log; empty if neither has it.
func (f *finder) originAt(ctx context.Context, lane wire.Lane, sequence string) (string, error) {
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return "", nil // too large for a sequence: then it is an id
	}
	m, err := f.Fresh(ctx, lane, seq)
	switch {
	case err == nil:
		return m.Key.Origin, nil
	case errors.Is(err, stream.ErrNotFound):
	case errors.Is(err, stream.ErrNoStream):
		return "", nil // no such lane: then it is an id
	default:
		return "", err
	}
	bar := f.watch.bar(-1, "reading the log of lane "+string(lane))
	defer bar.End()
	for r, err := range f.log.Search(ctx, journal.Filter{Lane: lane}) {
		if err != nil {
			return "", err
		}
		bar.Step()
		if strings.HasSuffix(r.Origin, "-"+sequence) {
			return r.Origin, nil
		}
	}
	return "", nil
}

// untouched reads the lanes for mail that no worker has recorded yet: only the
// message itself has its id. If the id was found elsewhere and there is much to read,
// it returns how much instead.
func (f *finder) untouched(ctx context.Context, id string) (unsearched uint64, err error) {
	n, err := f.Unsettled(ctx)
	if err != nil {
		return 0, err
	}
	if len(f.found) > 0 && n > searchAll {
		return n, nil
	}
	bar := f.watch.bar(int64(n), "reading what waits")
	defer bar.End()
	found, err := f.Search(ctx, id, bar.Step)
	f.addLive(found...)
	return 0, err
}
