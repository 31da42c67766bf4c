package storm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
)

// dyingMail is the mail of that number: all of it dies once or more before the
// relay takes it, at once or after deferrals, whole or in parts.
func dyingMail(n int) Mail {
	m := Mail{ID: fmt.Sprintf("m%d", n)}
	at := fmt.Sprintf("@d%d.example", n)
	switch n % 5 {
	case 0:
		m.To = []string{"550x1" + at}
	case 1:
		m.To = []string{"550x3" + at}
	case 2:
		m.To = []string{"550x1" + at, "551x2" + at, "553x1" + at}
	case 3:
		m.To = []string{"451x4" + at} // of three attempts
	case 4:
		m.To = []string{"ann" + at, "550x2" + at, "451x1" + at}
	}
	return m
}

// operators act at random on the dead letters of m0 to mN-1.
type operators struct {
	graves *deadletter.Queue
	mails  int
	acts   atomic.Int64

	mu sync.Mutex
	// discarded are those whom an operator was told to have given up, or, where
	// false, those whose operator died while giving them up.
	discarded map[Key]bool
	did       map[string]int
}

func (s *storm) operators(t *testing.T, mails int) *operators {
	t.Helper()
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	store := c.Store()
	return &operators{
		graves: deadletter.New(store, journal.New(store), c.Now), mails: mails,
		discarded: map[Key]bool{}, did: map[string]int{},
	}
}

// work acts until that many dead letters were acted on, by all hands together.
func (o *operators) work(ctx context.Context, acts int64) error {
	for o.acts.Load() < acts {
		if err := ctx.Err(); err != nil {
			return err
		}
		for l, err := range o.graves.ByID(ctx, fmt.Sprintf("m%d", rand.IntN(o.mails))) {
			if err != nil {
				return err
			}
			// By one, or by two at once that may be of two minds.
			var workers sync.WaitGroup
			failed := make(chan error, 2)
			for range 1 + rand.IntN(2) {
				workers.Go(func() { failed <- o.act(ctx, l) })
			}
			workers.Wait()
			close(failed)
			for err := range failed {
				if err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// act replays, or now and then discards; some operators die over it.
func (o *operators) act(ctx context.Context, l *deadletter.Found) error {
	if rand.IntN(4) == 0 {
		dying, cancel := context.WithTimeout(ctx, rand.N(3*time.Millisecond))
		defer cancel()
		ctx = dying
	}
	verb, do := "replay", func() error { return o.graves.Replay(ctx, l, 100) }
	if rand.IntN(8) == 0 {
		verb, do = "discard", func() error { return o.graves.Discard(ctx, l) }
	}
	o.acts.Add(1)
	err := do()
	o.mu.Lock()
	defer o.mu.Unlock()
	if verb == "discard" && (err == nil || ctx.Err() != nil) {
		for _, r := range l.Recipients {
			k := Key{l.Key.ID, r.Address}
			o.discarded[k] = o.discarded[k] || err == nil
		}
	}
	switch {
	case err == nil:
		o.did[verb]++
	case ctx.Err() != nil:
		o.did["died over "+verb]++
	case errors.Is(err, deadletter.ErrSettled), errors.Is(err, deadletter.ErrReplaying):
		o.did["too late to "+verb]++
	default:
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// TestOperators: dead letters are replayed and discarded at random, some by two at
// once, while they are buried, sent, deferred and fired by their schedules and
// workers are killed. What an operator was told holds.
func TestOperators(t *testing.T) {
	testrun.Beside(t)
	s := begin(t, Config{
		Workers: 3, For: operatorsFor, KillEvery: 2 * time.Second,
		Env: []string{"POSTRIDER_MAX_ATTEMPTS=3", "POSTRIDER_RETRY_AFTER=200ms"},
	})
	o := s.operators(t, operatorsMails)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	p := s.producer(4)
	p.Every = operatorsFor / 2 * 4 / time.Duration(operatorsMails)
	var all sync.WaitGroup
	all.Go(func() {
		if err := p.Publish(ctx, operatorsMails, dyingMail); err != nil {
			t.Error(err)
		}
	})
	for range 8 {
		all.Go(func() {
			if err := o.work(ctx, int64(operatorsActs)); err != nil {
				t.Error(err)
				cancel()
			}
		})
	}
	if err := s.rage(ctx); err != nil {
		t.Error(err)
	}
	all.Wait()
	r := s.settled(t, p)
	gone := map[Key]bool{}
	var lost []Key
	for _, k := range r.Lost {
		gone[k] = true
		if _, discarded := o.discarded[k]; !discarded {
			lost = append(lost, k)
		}
	}
	t.Logf("of the %d that nobody has %d were discarded: lost=%d acts=%d %v", len(gone), len(gone)-len(lost), len(lost), o.acts.Load(), o.did)
	none(t, "lost", lost)
	for k, told := range o.discarded {
		if told && !gone[k] {
			t.Errorf("%s was sent or dead-lettered, though an operator was told that it is discarded", k)
		}
	}
	none(t, "sent twice, which no fault explains", r.Unexplained)
	none(t, "dead though delivered", r.Both)
	for _, did := range []string{"replay", "discard", "too late to replay", "too late to discard", "died over replay", "died over discard"} {
		if o.did[did] == 0 {
			t.Errorf("nobody came to %s", did)
		}
	}
}
