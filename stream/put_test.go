package stream_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

var deadKey = wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}

func atGeneration(subject string, generation int) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{wire.HeaderGeneration: {strconv.Itoa(generation)}}, Data: []byte("generation " + strconv.Itoa(generation))}
}

func TestPut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		there      []int  // generations put before, in that order
		expected   uint64 // as the caller believes
		generation int
		seq        uint64
		already    bool
	}{
		"nothing there":                                {nil, 0, 1, 1, false},
		"nothing there, though expected":               {nil, 7, 1, 1, false},
		"same generation":                              {[]int{1}, 0, 1, 1, true},
		"higher generation":                            {[]int{3}, 0, 1, 1, true},
		"higher generation, wrong sequence expected":   {[]int{3}, 9, 1, 1, true},
		"lower generation is replaced":                 {[]int{1}, 0, 2, 2, false},
		"lower generation, as expected":                {[]int{1}, 1, 2, 2, false},
		"several before":                               {[]int{1, 2}, 1, 3, 3, false},
		"a message without a generation is the lowest": {[]int{-1}, 0, 0, 2, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			for _, generation := range tt.there {
				if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), atGeneration(deadKey.DeadSubject(), generation)); err != nil {
					t.Fatal(err)
				}
			}
			m := atGeneration(deadKey.DeadSubject(), tt.generation)
			seq, already, err := b.Conn.Store().Put(natstest.Within(t), m, "", tt.expected, tt.generation)
			if err != nil || seq != tt.seq || already != tt.already {
				t.Errorf("Put = %d, %v, %v; want %d, %v", seq, already, err, tt.seq, tt.already)
			}
			if len(m.Header) != 1 {
				t.Errorf("Put changed the message's header to %v", m.Header)
			}
			last, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamDead, deadKey.DeadSubject())
			if err != nil || last.Sequence != tt.seq {
				t.Errorf("the dead letter is %v, %v; want sequence %d", last, err, tt.seq)
			}
		})
	}
}

func TestPutRaced(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	const workers = 8
	type result struct {
		seq     uint64
		already bool
		err     error
	}
	for _, same := range []bool{true, false} {
		key := deadKey.For(len(strconv.FormatBool(same)))
		results := make([]result, workers)
		var wg sync.WaitGroup
		for i := range workers {
			wg.Go(func() {
				generation := 1
				if !same {
					generation += i
				}
				r := &results[i]
				r.seq, r.already, r.err = b.Conn.Store().Put(natstest.Within(t), atGeneration(key.DeadSubject(), generation), "", 0, generation)
			})
		}
		wg.Wait()
		made := map[uint64]bool{}
		for i, r := range results {
			if r.err != nil {
				t.Errorf("worker %d: %v", i, r.err)
			}
			if !r.already {
				if made[r.seq] {
					t.Errorf("two workers made %d", r.seq)
				}
				made[r.seq] = true
			}
		}
		if same && len(made) != 1 {
			t.Errorf("%d workers at one generation made %d dead letters", workers, len(made))
		}
		want := "generation 1"
		if !same {
			want = "generation " + strconv.Itoa(workers)
		}
		last, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamDead, key.DeadSubject())
		if err != nil || string(last.Data) != want {
			t.Errorf("same generation %v: the dead letter is %v, %v; want %s", same, last, err, want)
		}
	}
}

// asking is a store that asks for leave before each write.
type asking struct {
	*stream.Store
	leave func() error
}

func (a asking) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error) {
	if err := a.leave(); err != nil {
		return 0, err
	}
	return a.Store.Set(ctx, m, filter, expected)
}

func TestPutAsksBeforeEveryTry(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	gone := errors.New("the message is gone")
	asked := 0
	p := asking{b.Conn.Store(), func() error {
		if asked++; asked > 1 {
			return gone
		}
		return nil
	}}
	// Expecting what is not there, the first try is refused.
	if _, _, err := stream.Put(natstest.Within(t), p, atGeneration(deadKey.DeadSubject(), 1), "", 7, 1); !errors.Is(err, gone) || asked != 2 {
		t.Errorf("Put = %v after asking %d times, want %v after 2", err, asked, gone)
	}
	if _, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamDead, deadKey.DeadSubject()); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("a worker whose lease has expired put a dead letter: %v", err)
	}
}

func TestPutRefused(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	p := b.Conn.Store()
	large := atGeneration(deadKey.DeadSubject(), 1)
	large.Header.Set(wire.HeaderLog, strings.Repeat("x", 70<<10))
	if _, _, err := p.Put(natstest.Within(t), large, "", 0, 1); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("headers over 64 KiB: %v, want ErrTooLarge", err)
	}
	large = atGeneration(deadKey.DeadSubject(), 1)
	large.Data = make([]byte, 9<<20)
	if _, _, err := p.Put(natstest.Within(t), large, "", 0, 1); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("body over max_payload: %v, want ErrTooLarge", err)
	}
	small := natstest.ConfigOf(t, js, wire.StreamDead)
	small.MaxMsgSize = 100
	natstest.Update(t, js, small)
	large.Data = make([]byte, 200)
	if _, _, err := p.Put(natstest.Within(t), large, "", 0, 1); !errors.Is(err, stream.ErrTooLarge) {
		t.Errorf("over the stream's size: %v, want ErrTooLarge", err)
	}
	if _, _, err := p.Put(natstest.Within(t), atGeneration("elsewhere", 1), "", 0, 1); err == nil {
		t.Error("put on a subject that is not ours")
	}
	shutdown(t, b)
	if _, _, err := p.Put(natstest.Within(t), atGeneration(deadKey.DeadSubject(), 1), "", 0, 1); !errors.Is(err, stream.ErrAway) {
		t.Errorf("without a broker: %v, want ErrAway", err)
	}
}

func TestPutOverARestart(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	seq, _, err := b.Conn.Store().Put(natstest.Within(t), atGeneration(deadKey.DeadSubject(), 1), "", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]func(testing.TB){"restart": b.Restart, "kill": b.Kill} {
		again(t)
		got, already, err := b.Conn.Store().Put(natstest.Within(t), atGeneration(deadKey.DeadSubject(), 1), "", 0, 1)
		if err != nil || !already || got != seq {
			t.Errorf("after a %s: Put = %d, %v, %v; want %d, already", name, got, already, err, seq)
		}
	}
}

func TestNothingIsSentAfterItWasGivenUp(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	lost := b.Conn.NC().StatusChanged(nats.RECONNECTING)
	shutdown(t, b)
	<-lost
	ctx, cancel := natstest.Briefly(t)
	defer cancel()
	if _, _, err := b.Conn.Store().Put(ctx, atGeneration(deadKey.DeadSubject(), 1), "", 0, 1); !errors.Is(err, stream.ErrAway) {
		t.Fatalf("Put while disconnected = %v, want ErrAway", err)
	}
	// A client's buffer would be sent on at once.
	b.Restart(t)
	if m, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamDead, deadKey.DeadSubject()); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("after the reconnect there is %v, %v", m, err)
	}
}
