package submit

import (
	"context"
	"iter"
	"sync"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

const (
	// batchMails and batchBytes bound a batch, and with it the memory that a
	// PublishAll uses: one batch is collected, one sent and one reported at a time.
	batchMails = 200
	batchBytes = 4 << 20
)

// PublishAll publishes mails as [Client.Publish] does, several times as many a second.
// It yields one result a mail, in the order of the mails. An error is of that mail
// alone, and its receipt has the mail's ID and lane.
//
// While one batch of mails is stored, the next is read and checked: mails runs in
// a goroutine of its own. A batch is what was read meanwhile, up to 200 mails, so
// the first mail does not wait for others. Batches are stored one after the other,
// and each in the order of its mails. Only if the broker refuses a batch, its mails are
// published singly, all at once; and large mails come after the others of their batch.
//
// After ctx has ended, at most one more mail is read, and each mail that was read gets
// its result. If the loop is left early, mails whose result was not seen may be stored.
// The loop ends no sooner than mails does when it is asked to.
func (c *Client) PublishAll(ctx context.Context, lane wire.Lane, mails iter.Seq[*schema.Envelope]) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		waits := make(chan error, 1)
		done := c.stages(ctx, lane, mails, waits)
		defer func() {
			cancel()
			for range done { // until all stages have ended
			}
		}()
		for {
			select {
			case why := <-waits:
				if c.Waiting != nil {
					c.Waiting(why)
				}
			case batch, more := <-done:
				if !more || !report(batch, yield) {
					return
				}
			}
		}
	}
}

func report(batch []*outgoing, yield func(Receipt, error) bool) (more bool) {
	for _, o := range batch {
		if !yield(o.receipt, o.err) {
			return false
		}
	}
	return true
}

// stages starts reading, collecting and sending. All have ended when done is closed;
// it must be read until then. waits gets one reason for waiting.
func (c *Client) stages(ctx context.Context, lane wire.Lane, mails iter.Seq[*schema.Envelope], waits chan<- error) (done <-chan []*outgoing) {
	read, batches, sent := make(chan *outgoing), make(chan []*outgoing), make(chan []*outgoing)
	go func() {
		defer close(read)
		for e := range mails {
			read <- prepare(lane, e)
			if ctx.Err() != nil {
				return
			}
		}
	}()
	go func() {
		defer close(batches)
		collect(read, batches)
	}()
	go func() {
		defer close(sent)
		var once sync.Once
		s := &sender{client: c, say: func(why error) { once.Do(func() { waits <- why }) }, closed: map[string]refusal{}}
		for batch := range batches {
			s.send(ctx, batch)
			sent <- batch
		}
	}()
	return sent
}

// collect makes batches of what was read. It offers what it has at any time, and
// takes more until the offer is accepted or the batch is full.
func collect(read <-chan *outgoing, batches chan<- []*outgoing) {
	var batch []*outgoing
	for size := 0; read != nil || len(batch) > 0; {
		in, out := read, batches
		if len(batch) == 0 {
			out = nil
		}
		if len(batch) == batchMails || size >= batchBytes {
			in = nil
		}
		select {
		case o, more := <-in:
			if !more {
				read = nil
				continue
			}
			batch = append(batch, o)
			size += o.size()
		case out <- batch:
			batch, size = nil, 0
		}
	}
}
