package stream_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// sequences are those of all messages. after is called behind the first one.
func sequences(t *testing.T, s stream.Reader, subject string, r stream.Range, after func()) (all []uint64, err error) {
	t.Helper()
	for m, err := range stream.All(natstest.Within(t), s, wire.StreamRecord, subject, r) {
		if err != nil {
			return all, err
		}
		all = append(all, m.Sequence)
		if len(all) == 1 && after != nil {
			after()
		}
	}
	return all, nil
}

func TestAll(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	one, other := deadKey.For(1).RecordSubject(), deadKey.For(2).RecordSubject()
	write := func(subject string) {
		t.Helper()
		if _, err := s.Publish(natstest.Within(t), atGeneration(subject, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if all, err := sequences(t, s, one, stream.Range{}, nil); len(all) > 0 || err != nil {
		t.Errorf("of an empty stream: %v, %v", all, err)
	}
	for range 3 {
		write(one)
		write(other)
	}
	const every = "mail.record.>"
	for name, c := range map[string]struct {
		subject string
		r       stream.Range
		want    []uint64
	}{
		"everything":              {every, stream.Range{}, []uint64{1, 2, 3, 4, 5, 6}},
		"one subject":             {one, stream.Range{}, []uint64{1, 3, 5}},
		"from a sequence":         {one, stream.Range{From: 2}, []uint64{3, 5}},
		"through a sequence":      {one, stream.Range{Through: 4}, []uint64{1, 3}},
		"a part":                  {every, stream.Range{From: 2, Through: 3}, []uint64{2, 3}},
		"behind the end":          {every, stream.Range{From: 7}, nil},
		"from a time before":      {one, stream.Range{Since: b.Conn.Now().Add(-time.Hour)}, []uint64{1, 3, 5}},
		"from a time to come":     {one, stream.Range{Since: b.Conn.Now().Add(time.Hour)}, nil},
		"a subject without any":   {deadKey.DeadSubject(), stream.Range{}, nil},
		"as long as there is any": {other, stream.Range{Through: math.MaxUint64}, []uint64{2, 4, 6}},
	} {
		if all, err := sequences(t, s, c.subject, c.r, nil); !slices.Equal(all, c.want) || err != nil {
			t.Errorf("%s: %v, %v; want %v", name, all, err, c.want)
		}
	}
	// What is written or deleted meanwhile.
	if all, err := sequences(t, s, one, stream.Range{}, func() { write(one) }); !slices.Equal(all, []uint64{1, 3, 5}) || err != nil {
		t.Errorf("with a message more, written meanwhile: %v, %v", all, err)
	}
	if all, err := sequences(t, s, one, stream.Range{Through: math.MaxUint64}, func() { write(one) }); !slices.Equal(all, []uint64{1, 3, 5, 7, 8}) || err != nil {
		t.Errorf("including what is written meanwhile: %v, %v", all, err)
	}
	gone := func() {
		for _, seq := range []uint64{3, 8} {
			if err := s.Delete(natstest.Within(t), wire.StreamRecord, seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	if all, err := sequences(t, s, one, stream.Range{}, gone); !slices.Equal(all, []uint64{1, 5, 7}) || err != nil {
		t.Errorf("with two deleted meanwhile: %v, %v", all, err)
	}
	// The caller may stop.
	for m, err := range stream.All(natstest.Within(t), s, wire.StreamRecord, every, stream.Range{}) {
		if err != nil || m.Sequence != 1 {
			t.Errorf("the first is %v, %v", m, err)
		}
		break
	}
}

// failing is a store whose nth reading gets no answer.
type failing struct {
	*stream.Store
	n *int
}

func (f failing) Next(ctx context.Context, name, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error) {
	if *f.n--; *f.n < 0 {
		return nil, stream.ErrAway
	}
	return f.Store.Next(ctx, name, subject, seq, since)
}

func TestAllEndsAtAnError(t *testing.T) {
	t.Parallel()
	s := natstest.Start(t).Conn.Store()
	for range 3 {
		if _, err := s.Publish(natstest.Within(t), atGeneration(deadKey.RecordSubject(), 0)); err != nil {
			t.Fatal(err)
		}
	}
	n := 2
	if all, err := sequences(t, failing{s, &n}, deadKey.RecordSubject(), stream.Range{}, nil); len(all) != 2 || !errors.Is(err, stream.ErrAway) {
		t.Errorf("%v, %v; want two and ErrAway", all, err)
	}
	seen := 0
	for m, err := range stream.All(natstest.Within(t), s, "NOTHING", ">", stream.Range{}) {
		seen++
		if m != nil || err == nil || errors.Is(err, stream.ErrNotFound) {
			t.Errorf("of a stream that is not there: %v, %v", m, err)
		}
	}
	if seen != 1 {
		t.Errorf("%d errors, want one", seen)
	}
}

// publishMany publishes so many messages to the subjects that on gives.
func publishMany(t *testing.T, b *natstest.Broker, many int, on func(n int) string) {
	t.Helper()
	for n := range many {
		if _, err := b.Conn.JS().PublishAsync(on(n), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-b.Conn.JS().PublishAsyncComplete():
	case <-natstest.Within(t).Done():
		t.Fatal("the messages are not stored")
	}
}

// TestScan: Scan yields what All does.
func TestScan(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	one, other := deadKey.For(1).RecordSubject(), deadKey.For(2).RecordSubject()
	const mails = 1200 // more than one pull brings
	publishMany(t, b, mails, func(n int) string {
		if n%3 == 0 {
			return other
		}
		return one
	})
	middle, err := s.Next(natstest.Within(t), wire.StreamRecord, one, mails/2, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]stream.Range{
		"everything": {}, "from": {From: 500}, "through": {From: 10, Through: 700}, "since": {Since: middle.Time},
	} {
		for _, subject := range []string{one, other, "mail.record.>", deadKey.For(3).RecordSubject()} {
			want, err := sequences(t, s, subject, r, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []uint64
			for m, err := range s.Scan(natstest.Within(t), wire.StreamRecord, subject, r) {
				if err != nil {
					t.Fatal(err)
				}
				if subject != "mail.record.>" && m.Subject != subject || string(m.Data) != "x" || m.Time.IsZero() {
					t.Fatalf("%s: %+v", name, m)
				}
				got = append(got, m.Sequence)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s of %s: %d messages, All has %d", name, subject, len(got), len(want))
			}
		}
	}
	for range s.Scan(natstest.Within(t), wire.StreamRecord, one, stream.Range{}) {
		break // nothing is left behind; goleak sees it
	}
	for _, err := range s.Scan(natstest.Within(t), "NOWHERE", one, stream.Range{}) {
		if !errors.Is(err, stream.ErrNoStream) {
			t.Errorf("of no stream: %v", err)
		}
	}
	info, err := b.Conn.JS().Stream(natstest.Within(t), wire.StreamRecord)
	if err != nil {
		t.Fatal(err)
	}
	if n := info.CachedInfo().State.Consumers; n > 0 {
		t.Errorf("%d consumers are left", n)
	}
}
