package submit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
)

const (
	// companyLeast is the number of mails from which on a batch costs the broker's disk
	// less than as many single mails.
	companyLeast = 6
	// companyWait bounds how long a mail waits for those before it. On a broker that needs
	// longer for one mail, each goes by itself.
	companyWait = 25 * time.Millisecond
)

// company has mails of one stream that are published at the same time share a batch. A mail
// that comes alone goes at once, by itself. Those that come while it is on its way wait for
// it, and then go together.
type company struct {
	client *Client

	mu sync.Mutex
	// away is how many mails and batches are on their way.
	away    int
	waiting []*guest
	// Until retry there are no batches, because the broker refused one.
	retry time.Time
	pause time.Duration
}

// guest is a mail that waits. It is answered once, unless it leaves before.
type guest struct {
	msg *nats.Msg
	// done has the answer: of the batch, or that the mail is to go by itself.
	done chan arrival
	// gone: it does not wait for the answer any more.
	gone bool
}

// arrival is what became of a guest. If it is not stored, the mail is published by itself;
// lost is why it may be stored all the same.
type arrival struct {
	stored bool
	ack    stream.Ack
	lost   error
}

// company is the one of the stream that takes that subject.
func (c *Client) company(subject string) *company {
	name, _ := stream.Of(subject) // a lane's own
	with, _ := c.companies.LoadOrStore(name, &company{client: c})
	return with.(*company) //nolint:forcetypeassert // nothing else is stored there
}

// publish publishes a mail, with others if there are some.
func (c *company) publish(ctx context.Context, o *outgoing, say func(why error)) {
	if g := c.enter(o.msg); g != nil && c.wait(ctx, o, g) {
		return
	}
	defer c.depart()()
	c.client.publish(ctx, o, say)
}

// depart has those behind a mail or batch that is counted as on its way wait for it, but not
// long. The function ends that.
func (c *company) depart() (arrive func()) {
	once := sync.OnceFunc(c.arrive)
	late := time.AfterFunc(companyWait, once)
	return func() {
		late.Stop()
		once()
	}
}

// enter has a mail wait for those that are on their way. Without a guest it goes by itself.
func (c *company) enter(m *nats.Msg) *guest {
	large := m.Size() > c.client.large() // not under mu: it waits while the connection is written to
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away == 0 || time.Now().Before(c.retry) || large {
		c.away++
		return nil
	}
	g := &guest{msg: ofItsOwn(m), done: make(chan arrival, 1)}
	c.waiting = append(c.waiting, g)
	return g
}

// ofItsOwn is a copy of a message that shares nothing with it: a guest may leave, and its
// caller use the memory again, while its batch is being sent.
func ofItsOwn(m *nats.Msg) *nats.Msg {
	c := &nats.Msg{Subject: m.Subject, Header: make(nats.Header, len(m.Header)), Data: bytes.Clone(m.Data)}
	for name, values := range m.Header {
		c.Header[name] = slices.Clone(values)
	}
	return c
}

// wait waits until the mail is stored or has to go by itself. It reports true if it has its
// result.
func (c *company) wait(ctx context.Context, o *outgoing, g *guest) (over bool) {
	late := time.NewTimer(companyWait)
	defer late.Stop()
	for {
		select {
		case x := <-g.done:
			return c.client.arrived(o, x)
		case <-late.C:
			if c.withdraw(g) {
				return false
			}
		case <-ctx.Done():
			if c.withdraw(g) {
				return false // and publishing it says why it is not
			}
			if x, ok := c.desert(g); ok {
				return c.client.arrived(o, x)
			}
			o.err = fmt.Errorf("publish to lane %s: %w: %w", o.receipt.Lane, stream.ErrAway, context.Cause(ctx))
			return true
		}
	}
}

// arrived takes over what became of a guest. It reports whether it is stored.
func (c *Client) arrived(o *outgoing, x arrival) (stored bool) {
	if o.lost = x.lost; x.stored {
		c.stored(o, x.ack)
	}
	return x.stored
}

// withdraw reports that a guest waits no longer and goes by itself. If not, it has its answer
// or is in a batch.
func (c *company) withdraw(g *guest) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.waiting, g)
	if i < 0 {
		return false
	}
	c.waiting = slices.Delete(c.waiting, i, i+1)
	c.away++
	return true
}

// desert has a guest, which is in a batch, wait no longer for its answer, unless it is there.
func (c *company) desert(g *guest) (x arrival, answered bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case x = <-g.done:
		return x, true
	default:
		g.gone = true
		return x, false
	}
}

// arrive notes that a mail or a batch is no longer on its way, and has those go that waited
// for it: together if there are enough of them.
func (c *company) arrive() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away--
	switch batch := c.next(); {
	case len(batch) >= companyLeast && !time.Now().Before(c.retry):
		c.waiting = slices.Clone(c.waiting[len(batch):])
		c.away++
		go c.together(batch)
	case c.away == 0:
		c.release(c.waiting, nil)
		c.waiting = nil
	}
}

// release has guests go by themselves. lost is why they may be stored. The caller holds mu.
func (c *company) release(all []*guest, lost error) {
	for _, g := range all {
		g.done <- arrival{lost: lost}
		if !g.gone {
			c.away++
		}
	}
}

// next are those who wait and fit in one batch, in their order. The caller holds mu.
func (c *company) next() []*guest {
	size := 0
	for i, g := range c.waiting {
		if size += g.msg.Size(); i == batchMails || size > batchBytes {
			return c.waiting[:i:i]
		}
	}
	return c.waiting
}

// together publishes a batch.
func (c *company) together(batch []*guest) {
	defer c.depart()()
	msgs := make([]*nats.Msg, len(batch))
	for i, g := range batch {
		msgs[i] = g.msg
	}
	first, err := c.client.tryBatch(context.Background(), msgs)
	if err != nil {
		c.refused(batch, err)
		return
	}
	c.mu.Lock()
	c.pause = 0
	c.mu.Unlock()
	for i, g := range batch {
		g.done <- arrival{stored: true, ack: stream.Ack{Sequence: first + uint64(i)}}
	}
}

// refused has the mails of a batch go by themselves, which tells what is wrong with one of
// them; the broker drops what it has stored already. If it takes no batches, the next one is
// tried later.
func (c *company) refused(batch []*guest, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	lost := error(nil)
	switch {
	case errors.Is(err, stream.ErrAway):
		if mayBeStored(err) {
			lost = err
		}
	case errors.Is(err, stream.ErrBatch) && !errors.Is(err, stream.ErrRepeated):
		c.pause = min(max(2*c.pause, minPause), maxPause)
		c.retry = time.Now().Add(c.pause)
	}
	c.release(batch, lost)
}
