package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// searchAll is up to how many unsettled messages are searched for another one
// of an id that has been found elsewhere.
const searchAll = 2000

func (a *app) show() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show a message's way: every attempt, what became of it, what comes next",
		Long: `Show a message's way: its envelope, every attempt with the relay's reply, what
became of each recipient and what comes next. ID is an id, an origin, or what
publish printed: lane/sequence. Several messages may have one id: all of them,
the newest first. Exits with 1 where there is none.`,
		Example: "  postrider show m1\n  postrider show normal/17\n  postrider show m1 --json",
		Args:    cli.One("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.showWays(cmd.Context(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return cmd
}

func (a *app) showWays(ctx context.Context, id string, asJSON bool) error {
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	s := &search{app: a, post: p, ways: map[string]*way{}}
	if err := s.find(ctx, id); err != nil {
		return failed(err)
	}
	if len(s.ways) == 0 {
		return nothing("no message %s: it was never published here, or it was settled more than 30 days ago; postrider events --recipient ADDRESS finds messages by recipient", id)
	}
	lanes, err := s.lanes(ctx)
	if err != nil {
		return failed(err)
	}
	for i, w := range s.sorted() {
		v := w.view(p.Now(), lanes[w.lane()])
		if asJSON {
			err = writeJSON(a.stdout, v)
		} else {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			err = v.write(a.stdout, a.paint(), p.Now())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// way is all that is known of one message.
type way struct {
	origin  string
	records []*wire.Record
	live    []*queue.Message
	dead    []*deadletter.Found
}

// search collects ways, by origin.
type search struct {
	*app
	*post
	ways map[string]*way
}

func (s *search) way(origin string) *way {
	if s.ways[origin] == nil {
		s.ways[origin] = &way{origin: origin}
	}
	return s.ways[origin]
}

func (s *search) sorted() []*way {
	all := make([]*way, 0, len(s.ways))
	for _, w := range s.ways {
		slices.SortStableFunc(w.records, func(a, b *wire.Record) int {
			return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Generation, b.Generation))
		})
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *way) int {
		x, _ := wire.OriginTime(a.origin)
		y, _ := wire.OriginTime(b.origin)
		return cmp.Or(y.Compare(x), strings.Compare(a.origin, b.origin))
	})
	return all
}

// lanes are looked at only where mail waits: that it does may be the lane's
// fault.
func (s *search) lanes(ctx context.Context) (map[wire.Lane]*queue.Lane, error) {
	all := map[wire.Lane]*queue.Lane{}
	for _, w := range s.ways {
		if len(w.live) == 0 || len(all) > 0 {
			continue
		}
		g, err := s.queue.Status(ctx)
		if err != nil {
			return nil, err
		}
		for i := range g.Lanes {
			all[g.Lanes[i].Lane] = &g.Lanes[i]
		}
	}
	return all, nil
}

var laneAndSequence = regexp.MustCompile(`^([a-z0-9-]{1,32})/([0-9]{1,19})$`)

// find collects what there is of a message by whatever name.
func (s *search) find(ctx context.Context, id string) error {
	if m := laneAndSequence.FindStringSubmatch(id); m != nil {
		origin, err := s.originAt(ctx, wire.Lane(m[1]), m[2])
		if err != nil {
			return err
		}
		if origin != "" {
			id = origin
		}
	}
	if err := s.known(ctx, id); err != nil {
		return err
	}
	if _, ok := wire.OriginTime(id); ok {
		m, err := s.queue.FreshByOrigin(ctx, id)
		if err == nil {
			s.way(m.Key.Origin).live = append(s.way(m.Key.Origin).live, m)
		}
		if err == nil || !errors.Is(err, stream.ErrNotFound) || len(s.ways) > 0 {
			return unlessNotFound(err)
		}
	}
	return s.untouched(ctx, id)
}

func unlessNotFound(err error) error {
	if errors.Is(err, stream.ErrNotFound) {
		return nil
	}
	return err
}

// known is what records, log, copies and dead letters say.
func (s *search) known(ctx context.Context, id string) error {
	records, err := s.journal.Records(ctx, id)
	if err != nil {
		return err
	}
	for r, err := range s.log.Search(ctx, journal.Filter{ID: id}) {
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
		if (r.ID == id || r.Origin == id) && !seen[string(b)] {
			seen[string(b)] = true
			s.way(r.Origin).records = append(s.way(r.Origin).records, r)
		}
	}
	copies, err := s.queue.Copies(ctx, id)
	if err != nil {
		return err
	}
	for _, m := range copies {
		s.way(m.Key.Origin).live = append(s.way(m.Key.Origin).live, m)
	}
	for l, err := range s.buried.ByID(ctx, id) {
		if err != nil {
			return err
		}
		if l.Key.ID == id || l.Key.Origin == id {
			s.way(l.Key.Origin).dead = append(s.way(l.Key.Origin).dead, l)
		}
	}
	return nil
}

// originAt is the origin of what a producer published at that place: from the
// message while it is there, then from the log; empty where neither has it.
func (s *search) originAt(ctx context.Context, lane wire.Lane, sequence string) (string, error) {
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return "", nil // too large for a sequence: then it is an id
	}
	m, err := s.queue.Fresh(ctx, lane, seq)
	switch {
	case err == nil:
		return m.Key.Origin, nil
	case errors.Is(err, stream.ErrNotFound):
	case errors.Is(err, stream.ErrAway):
		return "", err
	default:
		return "", nil // no such lane: then it is an id
	}
	bar := s.progress(-1, "reading the log of lane "+string(lane))
	defer bar.end()
	for r, err := range s.log.Search(ctx, journal.Filter{Lane: lane}) {
		if err != nil {
			return "", err
		}
		bar.step()
		if strings.HasSuffix(r.Origin, "-"+sequence) {
			return r.Origin, nil
		}
	}
	return "", nil
}

// untouched reads the lanes for mail that no worker has recorded yet: only the
// message itself knows its id. Where the message was found elsewhere and there
// is very much to read it is left, for a second one of that id is rare.
func (s *search) untouched(ctx context.Context, id string) error {
	n, err := s.queue.Unsettled(ctx)
	if err != nil {
		return err
	}
	if len(s.ways) > 0 && n > searchAll {
		fmt.Fprintf(s.stderr, "postrider: %s that nobody has settled were not searched for another one of this id\n", mails(n))
		return nil
	}
	bar := s.progress(int64(n), "reading what waits")
	defer bar.end()
	found, err := s.queue.Search(ctx, id, bar.step)
	if err != nil {
		return err
	}
	for _, m := range found {
		s.way(m.Key.Origin).live = append(s.way(m.Key.Origin).live, m)
	}
	return nil
}
