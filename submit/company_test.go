package submit_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/submit"
)

// atOnce has that many goroutines publish the mails. seen is called with each result; it may
// be nil.
func atOnce(ctx context.Context, c *submit.Client, goroutines int, all []*schema.Envelope, seen func(i int)) []result {
	results := make([]result, len(all))
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				r, err := c.Publish(ctx, normal, all[i])
				if results[i] = (result{r, err}); seen != nil {
					seen(int(done.Add(1)))
				}
			}
		})
	}
	wg.Wait()
	return results
}

// nobodyLeft holds that the client has nothing on its way any more.
func nobodyLeft(t *testing.T, c *submit.Client) {
	t.Helper()
	testrun.Eventually(t, "nothing is on its way", patience, func() bool {
		away, waiting := c.Company(normal)
		return away == 0 && waiting == 0
	})
}

// TestPublishTogether: mails that are published at the same time share batches, and one
// that comes alone does not.
func TestPublishTogether(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	const n = 1000
	messages := allStored(t, b, atOnce(within(t, patience), c, 16, mails(n), nil), n)
	if some := batched(messages); some < n/2 {
		t.Errorf("%d of %d mails came in batches", some, n)
	}
	nobodyLeft(t, c)
	for i := range 10 {
		r, err := c.Publish(within(t, patience), normal, hello("alone"+strconv.Itoa(i)))
		if err != nil || content(t, b, normal)[r.Sequence].Header.Get("Nats-Batch-Id") != "" {
			t.Errorf("%+v, %v; or it came in a batch", r, err)
		}
	}
	nobodyLeft(t, c)
}

// TestBadCompany: one mail that a batch cannot have costs the others nothing, and not even
// their batches.
func TestBadCompany(t *testing.T) {
	t.Parallel()
	const n, bad = 1000, 300
	for name, mail := range map[string]*schema.Envelope{
		"published before":     hello("before"),
		"its ID comes twice":   hello(strconv.Itoa(bad - 1)),
		"over the lane's size": {ID: "huge", Raw: raw(8<<20 - 32<<10)},
		"large":                {ID: "large", Raw: raw(5 << 20)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			c := submit.New(b.Producer(t))
			if _, err := c.Publish(within(t, patience), normal, hello("before")); err != nil {
				t.Fatal(err)
			}
			all := mails(n)
			all[bad] = mail
			results := atOnce(within(t, patience), c, 64, all, nil)
			messages := content(t, b, normal)
			for i, r := range results {
				if m := messages[r.Sequence]; i != bad && (r.err != nil || m == nil || m.Header.Get(schema.HeaderMsgID) != r.ID) {
					t.Fatalf("mail %d: %+v", i, r)
				}
			}
			twice := results[bad].Duplicate || results[bad-1].Duplicate
			switch r := results[bad]; {
			case mail.ID == "huge":
				if !errors.Is(r.err, stream.ErrTooLarge) {
					t.Errorf("%+v", r)
				}
			case r.err != nil || (mail.ID != "large") != twice:
				t.Errorf("%+v, after %+v", r, results[bad-1])
			}
			if some := batched(messages); some < n/2 {
				t.Errorf("%d of %d mails came in batches", some, n)
			}
			nobodyLeft(t, c)
		})
	}
}

// TestCompanyWithoutBatches: a broker that takes no batches gets the mails one by one.
func TestCompanyWithoutBatches(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	cfg := natstest.ConfigOf(t, b.Conn.JS(), normal.SendStream())
	cfg.AllowAtomicPublish = false
	natstest.Update(t, b.Conn.JS(), cfg)
	const n = 1000
	c := submit.New(b.Producer(t))
	messages := allStored(t, b, atOnce(within(t, patience), c, 16, mails(n), nil), n)
	if some := batched(messages); some != 0 {
		t.Errorf("%d mails came in batches", some)
	}
	nobodyLeft(t, c)
}

// TestCompanyOutlasts: a lost answer and a restart lose nothing and store nothing twice.
func TestCompanyOutlasts(t *testing.T) {
	t.Parallel()
	const n = 2000
	t.Run("a lost answer", func(t *testing.T) {
		t.Parallel()
		b := natstest.Start(t)
		d := &deafOnce{said: []byte(`"batch":`)}
		c := submit.New(b.Producer(t, nats.SetCustomDialer(d), nats.ReconnectWait(10*time.Millisecond)))
		allStored(t, b, atOnce(within(t, patience), c, 16, mails(n), nil), n)
		if !d.done.Load() {
			t.Error("no answer was lost")
		}
		nobodyLeft(t, c)
	})
	t.Run("a restart", func(t *testing.T) {
		t.Parallel()
		b := natstest.Start(t)
		c, err := submit.Dial(within(t, patience), b.Config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		underWay, done := make(chan bool), make(chan []result)
		go func() {
			done <- atOnce(within(t, patience), c, 16, mails(n), func(i int) {
				if i == n/4 {
					close(underWay)
				}
			})
		}()
		<-underWay
		b.Restart(t)
		allStored(t, b, <-done, n)
		nobodyLeft(t, c)
	})
}

// slow connects, and takes its time for the first write that has the first mail of a batch.
type slow struct {
	hit atomic.Bool
}

func (s *slow) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, briefly)
	return &slowConn{c, s}, err
}

type slowConn struct {
	net.Conn

	by *slow
}

func (c *slowConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("Nats-Batch-Sequence: 1\r\n")) && c.by.hit.CompareAndSwap(false, true) {
		time.Sleep(600 * time.Millisecond)
	}
	return c.Conn.Write(b)
}

// TestMemoryIsTheCallers: once Publish has returned, what is done with the memory of the mail
// does not change what is stored.
func TestMemoryIsTheCallers(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := new(slow)
	c := submit.New(b.Producer(t, nats.SetCustomDialer(s)))
	want := raw(100 << 10)
	for first := 0; !s.hit.Load(); first += 24 {
		var all sync.WaitGroup
		for i := range 24 {
			all.Go(func() {
				e := &schema.Envelope{ID: strconv.Itoa(first + i), Raw: bytes.Clone(want), Tags: []string{"mine"}}
				ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
				defer cancel()
				if _, err := c.Publish(ctx, normal, e); err != nil && !errors.Is(err, stream.ErrAway) {
					t.Error(err)
				}
				clear(e.Raw)
				e.Tags[0] = "another's"
			})
		}
		all.Wait()
	}
	nobodyLeft(t, c)
	for seq, m := range content(t, b, normal) {
		if !bytes.Equal(m.Data, want) || m.Header.Get(schema.HeaderTag) != "mine" {
			t.Errorf("mail %d has another's content", seq)
		}
	}
}

// TestLostThenRefused: the answer to a batch is lost, and then the broker refuses its mails.
// They may be stored, and nobody says that they are not.
func TestLostThenRefused(t *testing.T) {
	t.Parallel()
	for name, publish := range map[string]func(ctx context.Context, c *submit.Client, all []*schema.Envelope) []result{
		"Publish": func(ctx context.Context, c *submit.Client, all []*schema.Envelope) []result {
			return atOnce(ctx, c, 16, all, nil)
		},
		"PublishAll": func(ctx context.Context, c *submit.Client, all []*schema.Envelope) []result {
			return resultsOf(ctx, c, normal, slices.Values(all))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			d := &deafOnce{said: []byte(`"batch":`), then: func() {
				cfg := natstest.ConfigOf(t, b.Conn.JS(), normal.SendStream())
				cfg.MaxMsgSize = 100
				natstest.Update(t, b.Conn.JS(), cfg)
			}}
			c := submit.New(b.Producer(t, nats.SetCustomDialer(d), nats.ReconnectWait(10*time.Millisecond)))
			results := publish(within(t, patience), c, mails(400))
			stored := map[string]bool{}
			for _, m := range content(t, b, normal) {
				stored[m.Header.Get(schema.HeaderMsgID)] = true
			}
			for _, r := range results {
				if said := r.err == nil || errors.Is(r.err, stream.ErrAway); stored[r.ID] && !said {
					t.Errorf("%s is stored: %v", r.ID, r.err)
				}
			}
			if unsure := count(results, func(r result) bool { return errors.Is(r.err, stream.ErrAway) }); unsure == 0 || unsure == 400 {
				t.Errorf("%d of 400 may be stored", unsure)
			}
		})
	}
}

// silent connects, and once it is shut passes on nothing that the broker says.
type silent struct{ shut atomic.Bool }

func (s *silent) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, briefly)
	return &silentConn{c, s}, err
}

type silentConn struct {
	net.Conn

	by *silent
}

func (c *silentConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.by.shut.Load() {
			return n, err
		}
	}
}

// TestCompanyIsLeft: a mail whose context ends waits for nobody, and does not say that it is
// not stored if it may be.
func TestCompanyIsLeft(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := new(silent)
	c := submit.New(b.Producer(t, nats.SetCustomDialer(s)))
	const n = 200
	ctx, cancel := context.WithCancel(within(t, patience))
	results := atOnce(ctx, c, 16, mails(n), func(i int) {
		if i == n/2 {
			s.shut.Store(true)
			time.AfterFunc(300*time.Millisecond, cancel)
		}
	})
	known := count(results, func(r result) bool { return r.err == nil || errors.Is(r.err, stream.ErrAway) })
	if stored := len(content(t, b, normal)); stored < n/2 || known < stored || known == n {
		t.Errorf("%d mails are stored, and %d are said to be, perhaps", stored, known)
	}
	nobodyLeft(t, c)
}
