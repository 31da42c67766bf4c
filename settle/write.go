package settle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// tryFor is how long one try of a read or write waits for the broker's answer.
const tryFor = 5 * time.Second

// writer reads and writes at the broker until it is answered.
type writer struct{ *Parts }

// withoutLease is the delivery for reads and writes that need no lease.
func (d *Delivery) withoutLease() *Delivery { return &Delivery{copy: d.copy} }

// try repeats what the broker does not answer. If the lease has expired, it asks
// before every try whether the message is still in its stream.
func (w *writer) try(ctx context.Context, d *Delivery, do func(context.Context) error) error {
	for n := 0; ; n++ {
		err := w.stillThere(ctx, d)
		if err == nil {
			tctx, cancel := context.WithTimeout(ctx, tryFor)
			err = do(tctx)
			cancel()
		}
		if !errors.Is(err, stream.ErrAway) {
			return err
		}
		// In an election "no responders" comes at once: pause.
		if !stream.Pause(ctx, min(100*time.Millisecond<<min(n, 5), 2*time.Second)) {
			return fmt.Errorf("%w: %w", ErrLeft, err)
		}
	}
}

// lookup reads the last record of a key.
func (w *writer) lookup(ctx context.Context, d *Delivery, k wire.Key) (rec *wire.Record, seq uint64, err error) {
	err = w.try(ctx, d, func(ctx context.Context) (err error) {
		rec, seq, err = w.Journal.Lookup(ctx, k)
		return err
	})
	return rec, seq, err
}

// lookupAny reads what another delivery of d's message recorded. d adopts its id.
func (w *writer) lookupAny(ctx context.Context, d *Delivery) (rec *wire.Record, seq uint64, err error) {
	if rec, seq, err = w.lookup(ctx, d.withoutLease(), d.sought()); rec != nil {
		d.copy.Key.ID = rec.ID
	}
	return rec, seq, err
}

// stillThere returns errGone if the lease has expired and the message is not in its
// stream any more.
func (w *writer) stillThere(ctx context.Context, d *Delivery) error {
	if !d.leaseExpired() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	m, err := w.Store.Next(ctx, d.Stream, d.Subject, d.Sequence, time.Time{})
	if errors.Is(err, stream.ErrNotFound) || err == nil && m.Sequence != d.Sequence {
		return errGone
	}
	return err
}

// tryWithRoom is try that also waits for room in the store.
func (w *writer) tryWithRoom(ctx context.Context, d *Delivery, do func(context.Context) error) error {
	for {
		err := w.try(ctx, d, do)
		if !errors.Is(err, stream.ErrFull) {
			return err
		}
		if err := w.awaitRoom(ctx, d, err); err != nil {
			return err
		}
	}
}

// roomPause is the pause between tries of a write that finds no room.
const roomPause = time.Second

// awaitRoom keeps the message in flight until the write may be tried again. If it
// were requeued, it would be sent again to those who have it already: only a
// worker that is told to stop requeues it. (A merge, which has no lease, waits on.)
func (w *writer) awaitRoom(ctx context.Context, d *Delivery, cause error) error {
	if w.Full() {
		w.Log.Error("no room in the store for the record or copy of a message: it stays in flight and nothing more is fetched until there is room", "id", d.copy.Key.ID, "lane", d.copy.Key.Lane, "error", cause)
	}
	t := time.NewTimer(roomPause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
	case <-d.stopping:
	}
	return errors.Join(d.nak(0), cause)
}

// nak gives the delivery back to the broker, to come again after that pause. It always
// returns ErrLeft.
func (d *Delivery) nak(pause time.Duration) error {
	if d.Handle != nil {
		_ = d.Handle.Requeue(pause) // not sent, the message comes again after AckWait
	}
	return ErrLeft
}
