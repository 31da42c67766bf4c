package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// Searched says where it searched, in the order in which it did.
	Searched []string
}

// searchAll is the number of unsettled messages up to which they are searched for
// another one of an id that was found elsewhere, which is rare.
const searchAll = 2000

// Traces finds the messages of that name: an id, an origin, lane/sequence as publish
// prints it, a Message-ID, or the queue id that a relay gave. Several messages may have
// one id. A Message-ID that Postrider did not make is found while the message is in the
// queue or dead.
func (q *Queue) Traces(ctx context.Context, name string, watch Watch) (*Traces, error) {
	f := &finder{Queue: q, watch: watch, found: map[string]*evidence{}}
	unsearched, err := f.find(ctx, name)
	if err == nil && len(f.found) == 0 {
		// It may have been settled after its record was looked for, and before its lane was.
		err = f.settled(ctx, name)
	}
	if err != nil {
		return nil, err
	}
	lanes := map[wire.Lane]*Lane{}
	t := &Traces{Unsearched: unsearched, Searched: f.searched}
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
	// searched says where.
	searched []string
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
	m := laneAndSequence.FindStringSubmatch(name)
	if m != nil {
		origin, err := f.originAt(ctx, wire.Lane(m[1]), m[2])
		if err != nil {
			return 0, err
		}
		if origin != "" {
			return 0, f.byOrigin(ctx, origin)
		}
	}
	if origin := originIn(name); origin != "" {
		if err := f.byOrigin(ctx, origin); err != nil || len(f.found) > 0 {
			return 0, err
		}
	}
	if _, ok := wire.OriginTime(name); ok {
		if err := f.byOrigin(ctx, name); err != nil || len(f.found) > 0 {
			return 0, err
		}
	} else if err := f.settled(ctx, name); err != nil {
		return 0, err
	}
	f.searched = append(f.searched, "the log of the last 30 days, scheduled mail and dead letters by id")
	// An id that looks like lane/sequence is unlikely: nobody has to wait for it.
	if unsearched, err = f.untouched(ctx, name, m != nil); err != nil || len(f.found) > 0 || m != nil {
		return unsearched, err
	}
	origins, err := f.otherNames(ctx, name)
	for _, origin := range origins {
		err = errors.Join(err, f.byOrigin(ctx, origin))
	}
	return unsearched, err
}

// byOrigin collects everything of one message.
func (f *finder) byOrigin(ctx context.Context, origin string) error {
	if f.found[origin] != nil {
		return nil
	}
	if err := f.settled(ctx, origin); err != nil {
		return err
	}
	m, err := f.FreshByOrigin(ctx, origin)
	switch {
	case err == nil:
		f.addLive(m)
	case !errors.Is(err, stream.ErrNotFound):
		return err
	}
	return nil
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
	lanes, err := f.lanes(ctx)
	if err != nil {
		return "", err
	}
	if !slices.Contains(lanes, lane) { // then it is an id
		f.searched = append(f.searched, fmt.Sprintf("the lanes: there is no lane %s among %s", lane, list(lanes)))
		return "", nil
	}
	m, err := f.Fresh(ctx, lane, seq)
	if err == nil {
		return m.Key.Origin, nil
	}
	if !errors.Is(err, stream.ErrNotFound) {
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
	f.searched = append(f.searched, fmt.Sprintf("lane %s and its log for message %s", lane, sequence))
	return "", nil
}

func list(lanes []wire.Lane) string {
	names := make([]string, len(lanes))
	for i, l := range lanes {
		names[i] = string(l)
	}
	return strings.Join(names, ", ")
}

// untouched reads the lanes for mail that no worker has recorded yet: only the
// message itself has its id. If the id was found elsewhere, or is unlikely, and there is
// much to read, it returns how much instead.
func (f *finder) untouched(ctx context.Context, id string, unlikely bool) (unsearched uint64, err error) {
	n, err := f.Unsettled(ctx)
	if err != nil {
		return 0, err
	}
	if (unlikely || len(f.found) > 0) && n > searchAll {
		return n, nil
	}
	bar := f.watch.bar(int64(n), "reading what waits")
	defer bar.End()
	found, err := f.Search(ctx, id, bar.Step)
	f.addLive(found...)
	f.searched = append(f.searched, "what waits in the lanes ("+Counted(n, "message")+") by id and Message-ID")
	return 0, err
}
