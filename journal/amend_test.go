package journal_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// act is the record of an operator's act on generation 3 of the key, if nobody has
// decided about it before. saw collects the generations that it was made from.
func act(b *natstest.Broker, k wire.Key, by string, saw *string) func(*wire.Record) *wire.Record {
	return func(last *wire.Record) *wire.Record {
		rec := last
		if last == nil {
			*saw += "-"
			rec = recordAt(k, 0, b.Conn.Now())
		} else {
			*saw += fmt.Sprint(last.Generation)
		}
		if rec.Generation >= 3 {
			return nil
		}
		rec.Generation, rec.Event, rec.Subject = 3, wire.EventReplayed, by
		return rec
	}
}

// crossed is a store whose writes another one crosses.
type crossed struct {
	*stream.Store
	set func(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
}

func (c crossed) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	return c.set(ctx, m, filter, expected)
}

// TestAmend: an act is made of the last record of its key, or of none. It is not made
// if somebody has decided before, or decides meanwhile: the first writer wins.
func TestAmend(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j := journal.New(b.Conn.Store())
	for i, c := range []struct {
		name string
		// there are the generations of the records that are there, between those that
		// come one by one before each of its writes.
		there, between []int
		saw            string
		// by is whose record is there in the end, and generation its generation.
		by         string
		generation int
	}{
		{"of none", nil, nil, "-", "operator", 3},
		{"of the last one", []int{1, 2}, nil, "2", "operator", 3},
		{"decided before", []int{3}, nil, "3", "another", 3},
		{"gone on before", []int{3, 4}, nil, "4", "another", 4},
		{"recorded meanwhile", nil, []int{2}, "-2", "operator", 3},
		{"recorded twice meanwhile", []int{0}, []int{1, 2}, "012", "operator", 3},
		{"decided meanwhile", []int{2}, []int{3}, "23", "another", 3},
	} {
		k := keyAt("m", b.Conn.Now(), uint64(i))
		another := func(generation int) {
			_, seq, err := j.Lookup(t.Context(), k)
			if err != nil {
				t.Fatal(err)
			}
			r := recordAt(k, generation, b.Conn.Now())
			r.Subject = "another"
			if _, err := j.Set(t.Context(), r.Key(), r, seq, false); err != nil {
				t.Fatal(err)
			}
		}
		for _, generation := range c.there {
			another(generation)
		}
		s := b.Conn.Store()
		mine := journal.New(crossed{s, func(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
			if len(c.between) > 0 {
				another(c.between[0])
				c.between = c.between[1:]
			}
			return s.Set(ctx, m, filter, expected)
		}})
		saw := ""
		got, err := mine.Amend(t.Context(), k, act(b, k, "operator", &saw))
		if err != nil || got == nil || got.Subject != c.by || got.Generation != c.generation || saw != c.saw {
			t.Errorf("%s: %+v, %v, made of %q; want generation %d by %s, made of %q", c.name, got, err, saw, c.generation, c.by, c.saw)
		}
		m, err := s.Last(t.Context(), wire.StreamRecord, k.RecordSubject())
		if err != nil {
			t.Fatal(err)
		}
		last, err := wire.DecodeRecord(m.Data)
		if err != nil || last.Subject != c.by || last.Generation != c.generation || m.Header.Get(jetstream.MsgTTLHeader) != "" {
			t.Errorf("%s: the last record is %+v with %v, %v", c.name, last, m.Header, err)
		}
	}
}

// TestAmendDeclined: where nothing is and nothing is made, nothing is in the end.
func TestAmendDeclined(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, k := journal.New(b.Conn.Store()), keyAt("m", b.Conn.Now(), 1)
	got, err := j.Amend(t.Context(), k, func(*wire.Record) *wire.Record { return nil })
	if got != nil || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
	if last, _, err := j.Lookup(t.Context(), k); last != nil || err != nil {
		t.Errorf("the record is %+v, %v", last, err)
	}
}

// TestAmendTogether: of many operators one decides, and all learn what.
func TestAmendTogether(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j, k := journal.New(b.Conn.Store()), keyAt("m", b.Conn.Now(), 1)
	var operators sync.WaitGroup
	got := make([]*wire.Record, 8)
	for n := range got {
		operators.Go(func() {
			var err error
			if got[n], err = j.Amend(t.Context(), k, act(b, k, fmt.Sprint(n), new(string))); err != nil {
				t.Error(err)
			}
		})
	}
	operators.Wait()
	last, _, err := j.Lookup(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	for n, r := range got {
		if r == nil || r.Subject != last.Subject || !r.At.Equal(last.At) {
			t.Errorf("operator %d has %+v, the record is %+v", n, r, last)
		}
	}
}

// TestAmendUnanswered: an act whose answer is lost does not conflict with itself, be
// it that the broker then refuses the same write, or that the operator tries again.
func TestAmendUnanswered(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for i, lost := range []error{stream.ErrConflict, stream.ErrAway} {
		k, s := keyAt("m", b.Conn.Now(), uint64(i)), b.Conn.Store()
		writes := 0
		j := journal.New(crossed{s, func(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
			writes++
			if _, err := s.Set(ctx, m, filter, expected); err != nil {
				t.Error(err)
			}
			return 0, lost
		}})
		saw, made := "", "-"
		got, err := j.Amend(t.Context(), k, act(b, k, "operator", &saw))
		if errors.Is(lost, stream.ErrAway) {
			if got != nil || !errors.Is(err, stream.ErrAway) {
				t.Errorf("%v: %+v, %v", lost, got, err)
			}
			made = "-3"
			got, err = j.Amend(t.Context(), k, act(b, k, "operator again", &saw))
		}
		if err != nil || got == nil || got.Subject != "operator" || saw != made || writes != 1 {
			t.Errorf("%v: %+v, %v, made of %q in %d writes", lost, got, err, saw, writes)
		}
	}
}

// TestAmendEnds with its context, however often another write comes first.
func TestAmendEnds(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	ctx, stop := context.WithCancel(t.Context())
	writes := 0
	j := journal.New(crossed{b.Conn.Store(), func(context.Context, *nats.Msg, string, uint64) (uint64, error) {
		if writes++; writes == 3 {
			stop()
		}
		return 0, stream.ErrConflict
	}})
	k := keyAt("m", b.Conn.Now(), 1)
	got, err := j.Amend(ctx, k, act(b, k, "operator", new(string)))
	if got != nil || !errors.Is(err, context.Canceled) || writes != 3 {
		t.Errorf("%+v, %v after %d writes", got, err, writes)
	}
}
