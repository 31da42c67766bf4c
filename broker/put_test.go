package broker_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

var letter = wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}

func atHop(subject string, generation int) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{wire.HeaderGeneration: {strconv.Itoa(generation)}}, Data: []byte("hop " + strconv.Itoa(generation))}
}

func TestPut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		there    []int  // hops put before, in that order
		expected uint64 // as the caller believes
		hop      int
		seq      uint64
		already  bool
	}{
		"nothing there":                         {nil, 0, 1, 1, false},
		"nothing there, though expected":        {nil, 7, 1, 1, false},
		"same hop":                              {[]int{1}, 0, 1, 1, true},
		"higher hop":                            {[]int{3}, 0, 1, 1, true},
		"higher hop, wrong sequence expected":   {[]int{3}, 9, 1, 1, true},
		"lower hop is replaced":                 {[]int{1}, 0, 2, 2, false},
		"lower hop, as expected":                {[]int{1}, 1, 2, 2, false},
		"several before":                        {[]int{1, 2}, 1, 3, 3, false},
		"a message without a hop is the lowest": {[]int{-1}, 0, 0, 2, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			for _, generation := range tt.there {
				if _, err := b.Conn.JS().PublishMsg(within(t), atHop(letter.DeadSubject(), generation)); err != nil {
					t.Fatal(err)
				}
			}
			m := atHop(letter.DeadSubject(), tt.hop)
			seq, already, err := b.Conn.Putter(nil).Put(within(t), m, "", tt.expected, tt.hop)
			if err != nil || seq != tt.seq || already != tt.already {
				t.Errorf("Put = %d, %v, %v; want %d, %v", seq, already, err, tt.seq, tt.already)
			}
			if len(m.Header) != 1 {
				t.Errorf("Put changed the message's header to %v", m.Header)
			}
			last, err := b.Conn.Last(within(t), wire.StreamDead, letter.DeadSubject())
			if err != nil || last.Sequence != tt.seq {
				t.Errorf("the letter is %v, %v; want sequence %d", last, err, tt.seq)
			}
		})
	}
}

func TestPutRaced(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	const hands = 8
	type result struct {
		seq     uint64
		already bool
		err     error
	}
	for _, same := range []bool{true, false} {
		key := letter.For(len(strconv.FormatBool(same)))
		results := make([]result, hands)
		var wg sync.WaitGroup
		for i := range hands {
			wg.Go(func() {
				generation := 1
				if !same {
					generation += i
				}
				r := &results[i]
				r.seq, r.already, r.err = b.Conn.Putter(nil).Put(within(t), atHop(key.DeadSubject(), generation), "", 0, generation)
			})
		}
		wg.Wait()
		made := map[uint64]bool{}
		for i, r := range results {
			if r.err != nil {
				t.Errorf("hand %d: %v", i, r.err)
			}
			if !r.already {
				if made[r.seq] {
					t.Errorf("two hands made %d", r.seq)
				}
				made[r.seq] = true
			}
		}
		if same && len(made) != 1 {
			t.Errorf("%d hands at one hop made %d letters", hands, len(made))
		}
		want := "hop 1"
		if !same {
			want = "hop " + strconv.Itoa(hands)
		}
		last, err := b.Conn.Last(within(t), wire.StreamDead, key.DeadSubject())
		if err != nil || string(last.Data) != want {
			t.Errorf("same hop %v: the letter is %v, %v; want %s", same, last, err, want)
		}
	}
}

func TestPutAsksBeforeEveryTry(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	gone := errors.New("the message is gone")
	asked := 0
	p := b.Conn.Putter(func(context.Context) error {
		if asked++; asked > 1 {
			return gone
		}
		return nil
	})
	// Expecting what is not there, the first try is refused.
	if _, _, err := p.Put(within(t), atHop(letter.DeadSubject(), 1), "", 7, 1); !errors.Is(err, gone) || asked != 2 {
		t.Errorf("Put = %v after asking %d times, want %v after 2", err, asked, gone)
	}
	if _, err := b.Conn.Last(within(t), wire.StreamDead, letter.DeadSubject()); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("a hand that lapsed put a letter: %v", err)
	}
}

func TestPutRefused(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	p := b.Conn.Putter(nil)
	large := atHop(letter.DeadSubject(), 1)
	large.Header.Set(wire.HeaderLog, strings.Repeat("x", 70<<10))
	if _, _, err := p.Put(within(t), large, "", 0, 1); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("headers over 64 KiB: %v, want ErrTooLarge", err)
	}
	large = atHop(letter.DeadSubject(), 1)
	large.Data = make([]byte, 9<<20)
	if _, _, err := p.Put(within(t), large, "", 0, 1); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("body over max_payload: %v, want ErrTooLarge", err)
	}
	small := configOf(t, js, wire.StreamDead)
	small.MaxMsgSize = 100
	update(t, js, small)
	large.Data = make([]byte, 200)
	if _, _, err := p.Put(within(t), large, "", 0, 1); !errors.Is(err, broker.ErrTooLarge) {
		t.Errorf("over the stream's size: %v, want ErrTooLarge", err)
	}
	if _, _, err := p.Put(within(t), atHop("elsewhere", 1), "", 0, 1); err == nil {
		t.Error("put on a subject that is not ours")
	}
	shutdown(t, b.Embedded)
	if _, _, err := p.Put(within(t), atHop(letter.DeadSubject(), 1), "", 0, 1); !errors.Is(err, broker.ErrAway) {
		t.Errorf("without a broker: %v, want ErrAway", err)
	}
}

func TestPutOverARestart(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	seq, _, err := b.Conn.Putter(nil).Put(within(t), atHop(letter.DeadSubject(), 1), "", 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	for name, again := range map[string]func(testing.TB){"restart": b.Restart, "kill": b.Kill} {
		again(t)
		got, already, err := b.Conn.Putter(nil).Put(within(t), atHop(letter.DeadSubject(), 1), "", 0, 1)
		if err != nil || !already || got != seq {
			t.Errorf("after a %s: Put = %d, %v, %v; want %d, already", name, got, already, err, seq)
		}
	}
}

func TestNothingIsSentAfterItWasGivenUp(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	lost := b.Conn.NC().StatusChanged(nats.RECONNECTING)
	shutdown(t, b.Embedded)
	<-lost
	ctx, cancel := briefly(t)
	defer cancel()
	if _, _, err := b.Conn.Putter(nil).Put(ctx, atHop(letter.DeadSubject(), 1), "", 0, 1); !errors.Is(err, broker.ErrAway) {
		t.Fatalf("Put while disconnected = %v, want ErrAway", err)
	}
	// A client's buffer would be sent on at once.
	b.Restart(t)
	if m, err := b.Conn.Last(within(t), wire.StreamDead, letter.DeadSubject()); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("after the reconnect there is %v, %v", m, err)
	}
}
