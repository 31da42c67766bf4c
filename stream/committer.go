package stream

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// commitMost is the number of writes in one batch. Larger batches are hardly faster,
	// and a batch is in memory until its last message arrived.
	commitMost = 256
	// commitBytes bounds the bytes of a batch, but for its first message.
	commitBytes = 4 << 20
	// commitLeast is the number from which on a batch is faster than single writes: a
	// batch is six syncs of the disk, whatever its size.
	commitLeast = 6
	// batchPause is for how long writes go singly after the server refused a batch for a
	// reason of its own.
	batchPause = time.Second
)

// ErrLate: a write was not sent, because its permit was refused when its turn came.
var ErrLate = errors.New("not written: the right to do so has ended")

// Committer writes messages to one stream, each with a condition of its own or none, for
// many goroutines at once. While one batch is on its way, those who come next are collected
// for the next one. While many come, that one also waits a little for more of them: each
// batch costs the disk the same. A lone write waits for nobody and is as fast as [Store.Set].
// Its methods may be called concurrently.
type Committer struct {
	store  Batcher
	linger time.Duration
	enough int

	mu      sync.Mutex
	waiting []*commit
	// running: a goroutine writes what waits.
	running bool
	// since is when the present span of time began, came the number of writes in it, and
	// before that of the span before.
	since        time.Time
	came, before int
	// complete is closed once enough wait; nil if nobody asks.
	complete chan struct{}
	// singly is until when no batch is tried.
	singly time.Time
}

// Batcher is what a [Committer] writes to, as a [Store] is.
type Batcher interface {
	Set(ctx context.Context, m *nats.Msg, filter string, expected uint64) (uint64, error)
	Batch(ctx context.Context, writes []Write) (first uint64, err error)
}

// commit is one write that waits. The goroutine that writes it answers once.
type commit struct {
	Write
	ctx    context.Context
	permit func() bool
	seq    uint64
	err    error
	done   chan struct{}
}

// NewCommitter is a committer for a stream of that store. While many writes come, it waits
// so long for more of them, unless there are enough.
func NewCommitter(s Batcher, linger time.Duration, enough int) *Committer {
	return &Committer{store: s, linger: linger, enough: enough}
}

// Set is [Store.Set]. The message may go in a batch with others: one that is refused
// costs the others nothing but time. permit is asked just before it is sent; if it
// refuses, nothing is written and the error is [ErrLate]. Without a permit the message is
// written at once and by itself.
//
// If ctx ends first, it is not known whether the message was written: the error is
// [ErrAway].
func (c *Committer) Set(ctx context.Context, m *nats.Msg, filter string, expected uint64, permit func() bool) (uint64, error) {
	if permit == nil {
		return c.store.Set(ctx, m, filter, expected)
	}
	w := &commit{Write: Write{m, filter, expected}, ctx: ctx, permit: permit, done: make(chan struct{})}
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	c.count(1)
	if c.complete != nil && len(c.waiting) >= c.enough {
		close(c.complete)
		c.complete = nil
	}
	if !c.running {
		c.running = true
		go c.run()
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.seq, w.err
	case <-ctx.Done():
		return 0, unanswered(context.Cause(ctx))
	}
}

// run writes until nobody waits.
func (c *Committer) run() {
	for {
		c.awaitCompany()
		batch, together := c.next()
		if len(batch) == 0 {
			return
		}
		c.write(batch, together)
	}
}

// countSpan is the time over which writes are counted.
const countSpan = 50 * time.Millisecond

// count counts a write that has come, and with 0 none. The caller holds mu.
func (c *Committer) count(n int) {
	switch past := time.Since(c.since); {
	case past >= 2*countSpan:
		c.since, c.before, c.came = time.Now(), 0, 0
	case past >= countSpan:
		c.since, c.before, c.came = c.since.Add(countSpan), c.came, 0
	}
	c.came += n
}

// many reports that enough writes for a batch come in the time that one may wait. The
// caller holds mu.
func (c *Committer) many() bool {
	c.count(0)
	return max(c.before, c.came)*int(c.linger) >= commitLeast*int(countSpan)
}

// awaitCompany waits for more writes, while many come.
func (c *Committer) awaitCompany() {
	c.mu.Lock()
	if n := len(c.waiting); n == 0 || n >= c.enough || !c.many() {
		c.mu.Unlock()
		return
	}
	complete := make(chan struct{})
	c.complete = complete
	c.mu.Unlock()
	t := time.NewTimer(c.linger)
	defer t.Stop()
	select {
	case <-complete:
	case <-t.C:
	}
}

// next takes those who wait, of those with a condition at most one for each subject and
// filter: the server checks conditions against what is stored, not within a batch.
// together reports that they may go in one batch. With nobody left the goroutine must end.
func (c *Committer) next() (batch []*commit, together bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	seen, size := map[string]bool{}, 0
	var left []*commit
	for _, w := range c.waiting {
		full := len(batch) == commitMost || len(batch) > 0 && size+w.Msg.Size() > commitBytes
		if full || w.Filter != "" && (seen[w.Msg.Subject] || seen[w.Filter]) {
			left = append(left, w)
			continue
		}
		if w.Filter != "" {
			seen[w.Msg.Subject], seen[w.Filter] = true, true
		}
		size += w.Msg.Size()
		batch = append(batch, w)
	}
	c.waiting, c.complete = left, nil
	c.running = len(batch) > 0
	return batch, len(batch) >= commitLeast && !time.Now().Before(c.singly)
}

// write writes a batch, together if it may, and else each message by itself.
func (c *Committer) write(batch []*commit, together bool) {
	var permitted []*commit
	for _, w := range batch {
		switch {
		case w.ctx.Err() != nil:
			w.answer(0, unanswered(context.Cause(w.ctx)))
		case !w.permit():
			w.answer(0, ErrLate)
		default:
			permitted = append(permitted, w)
		}
	}
	if !together || !c.writeTogether(permitted) {
		writeSingly(c.store, permitted)
	}
}

// writeTogether reports false if nothing was stored and each must be tried by itself.
func (c *Committer) writeTogether(batch []*commit) bool {
	writes := make([]Write, len(batch))
	for i, w := range batch {
		writes[i] = w.Write
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	first, err := c.store.Batch(ctx, writes)
	switch {
	case err == nil:
	case errors.Is(err, ErrAway): // it is not known whether they are stored
		for _, w := range batch {
			w.answer(0, err)
		}
		return true
	default:
		if errors.Is(err, ErrBatch) {
			c.mu.Lock()
			c.singly = time.Now().Add(batchPause)
			c.mu.Unlock()
		}
		return false
	}
	for i, w := range batch {
		w.answer(first+uint64(i), nil)
	}
	return true
}

// writeSingly writes all at once, each by itself and with its own answer.
func writeSingly(s Batcher, batch []*commit) {
	var all sync.WaitGroup
	for _, w := range batch {
		all.Go(func() {
			if !w.permit() {
				w.answer(0, ErrLate)
				return
			}
			w.answer(s.Set(w.ctx, w.Msg, w.Filter, w.Expected))
		})
	}
	all.Wait()
}

func (w *commit) answer(seq uint64, err error) {
	w.seq, w.err = seq, err
	close(w.done)
}
