package submit_test

import (
	"context"
	"errors"
	"net"
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
