package consumer

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

const (
	// purgeEvery is the pause between two purges.
	purgeEvery = 25 * time.Millisecond
	// purgePatience is how long a settled message waits to be removed with others. It is
	// short: what waits is in flight, and one slow message holds up all behind it.
	purgePatience = 250 * time.Millisecond
	// purgeLeast is the number of waiting messages from which on a purge costs the disk less
	// than their acks.
	purgeLeast = 4
	// purgeGaps bounds the gaps in the sequences that are crossed at a time, each by a read.
	purgeGaps = 8
	// purgeKnown bounds the settled messages that are remembered behind one that is not. With
	// half as many it is looked, each purgeLook, which of them are still behind one.
	purgeKnown = 16384
	purgeLook  = time.Second
)

// Purger removes many messages with one write.
type Purger interface {
	Extent(ctx context.Context, stream string) (stream.Extent, error)
	// PurgeBelow removes all messages with a lower sequence.
	PurgeBelow(ctx context.Context, stream string, seq uint64) error
	Next(ctx context.Context, stream, subject string, seq uint64, since time.Time) (*jetstream.RawStreamMsg, error)
}

// purge removes settled messages from the head of a stream, many with one write, where
// each ack would cost the disk a sync. It is the only write that could lose mail wholesale.
// So it is for a process that embeds the broker, and for a stream from which every message
// goes when it is settled. And it removes only the unbroken run, from the stream's
// first message on, of those that this process itself has settled: one that is in flight,
// requeued, another worker's or was never seen ends the run. What has not gone a moment
// later is acked by itself.
//
// At a purge the server forgets which messages are to be delivered again, until an AckWait
// has gone by once more (nats-server 2.15, consumer.purge). So nothing is purged while there
// may be some: for an AckWait after one was delivered again or asked for, after a reconnect,
// and after a start if some were in flight.
type purge struct {
	store  Purger
	stream string
	link   Link
	// ackWait is the consumer's.
	ackWait func() time.Duration

	mu sync.Mutex // guards what follows
	// calm is from when on no message is to be delivered again, as far as is known. unsure:
	// before this incarnation somebody may have had some in flight.
	calm   time.Time
	unsure bool
	// looked is when the stream was asked last.
	looked time.Time
	// incarnation counts reconnects and new streams of that name: a sequence of another
	// incarnation says nothing. created is when the stream of this one was made; zero until
	// that is known, and until then nothing belongs to it.
	incarnation int64
	epoch       int64
	created     time.Time
	// settled are the messages of this incarnation that are settled and, as far as is known,
	// in the stream. waiting are those of them for which somebody waits.
	settled map[uint64]struct{}
	waiting map[uint64]chan bool
	// last is the highest sequence that was settled.
	last uint64
}

func newPurge(s Purger, stream string, link Link, ackWait func() time.Duration) *purge {
	return &purge{store: s, stream: stream, link: link, ackWait: ackWait, epoch: link.Epoch(), settled: map[uint64]struct{}{}, waiting: map[uint64]chan bool{}}
}

// redelivers notes that a message is to be delivered again after that time, or was just now.
func (p *purge) redelivers(after time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(after + p.ackWait()); until.After(p.calm) {
		p.calm = until
	}
}

// noIncarnation is that of what is always acked.
const noIncarnation = -1

// now is the incarnation of what arrives.
func (p *purge) now() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.created.IsZero() {
		return noIncarnation
	}
	return p.incarnation
}

// remove has a settled message removed together with others. It reports false if it was not
// removed: then it has to be acked.
func (p *purge) remove(ctx context.Context, l *lease, seq uint64) bool {
	if l.Expired() {
		return false
	}
	gone := p.await(l, seq)
	if gone == nil {
		return false
	}
	late := time.NewTimer(purgePatience)
	defer late.Stop()
	select {
	case removed := <-gone:
		return removed
	case <-late.C:
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.waiting, seq) // and it stays settled, whatever removes it
	return false
}

// await notes that a message is settled, and returns what says whether it was removed; nil
// if it has to be acked.
func (p *purge) await(l *lease, seq uint64) chan bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.incarnation != p.incarnation || len(p.settled) >= purgeKnown || time.Now().Before(p.calm) {
		return nil
	}
	if d := l.delivery; d != nil && d.Stored.Before(p.created) { // of another stream of that name
		return nil
	}
	gone := make(chan bool, 1)
	p.settled[seq], p.waiting[seq], p.last = struct{}{}, gone, max(p.last, seq)
	return gone
}

// run purges until ctx ends.
func (p *purge) run(ctx context.Context) {
	for stream.Pause(ctx, purgeEvery) {
		p.once(ctx)
	}
	p.forget()
}

// once purges if enough messages wait.
func (p *purge) once(ctx context.Context) {
	if p.link.Epoch() != p.known().epoch {
		p.forget()
	}
	known := p.known()
	switch {
	case known.created.IsZero(), known.waiting >= purgeLeast:
	case known.settled >= purgeKnown/2 && time.Since(known.looked) > purgeLook:
	case known.waiting > 0:
		p.answer(func(uint64) (answered, removed bool) { return true, false })
		return
	default:
		return
	}
	x, err := p.store.Extent(ctx, p.stream)
	switch {
	case err != nil: // they are acked
	case known.created.IsZero():
		p.begin(x)
	case !known.created.Equal(x.Created), x.Last < known.last:
		p.forget()
	default:
		p.purge(ctx, x)
	}
}

// purge removes the run.
func (p *purge) purge(ctx context.Context, x stream.Extent) {
	end := p.end(ctx, x)
	if p.link.Epoch() != p.known().epoch {
		return // what is known counts no more
	}
	if end > x.First && p.store.PurgeBelow(ctx, p.stream, end) != nil {
		return // it may have gone all the same
	}
	p.gone(end)
}

// end is the end of the run: the sequence of the first message that this process has not
// settled, or of one that may be. A gap in the sequences is crossed once a read has shown
// that nothing is in it.
func (p *purge) end(ctx context.Context, x stream.Extent) uint64 {
	end := x.First
	for range purgeGaps {
		var more bool
		if end, more = p.unbroken(end); !more || end > x.Last {
			break
		}
		m, err := p.store.Next(ctx, p.stream, ">", end, time.Time{})
		if err != nil || m.Sequence == end {
			break
		}
		end = m.Sequence
	}
	return min(end, x.Last+1)
}

// unbroken is the first sequence from seq on that is not known to be settled. more reports
// that later ones are.
func (p *purge) unbroken(seq uint64) (end uint64, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for end = seq; ; end++ {
		if _, ok := p.settled[end]; !ok {
			break
		}
	}
	for known := range p.settled {
		if known > end {
			return end, true
		}
	}
	return end, false
}

// gone notes that nothing is below that sequence.
func (p *purge) gone(end uint64) {
	p.answer(func(seq uint64) (bool, bool) { return seq < end, true })
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq := range p.settled {
		if seq < end {
			delete(p.settled, seq)
		}
	}
	p.looked = time.Now()
}

// answer tells those who wait whether their message was removed, if that is known.
func (p *purge) answer(tell func(seq uint64) (answered, removed bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for seq, gone := range p.waiting {
		if answered, removed := tell(seq); answered {
			gone <- removed
			delete(p.waiting, seq)
		}
	}
}

// forget begins a new incarnation: what is known counts no more.
func (p *purge) forget() {
	p.mu.Lock()
	p.incarnation++
	p.unsure = true
	p.epoch, p.created, p.last = p.link.Epoch(), time.Time{}, 0
	clear(p.settled)
	p.mu.Unlock()
	p.answer(func(uint64) (bool, bool) { return true, false })
}

// begin notes which stream this incarnation is of.
func (p *purge) begin(x stream.Extent) {
	p.mu.Lock()
	unsure := p.unsure && x.First <= x.Last
	p.created = x.Created
	p.mu.Unlock()
	if unsure {
		p.redelivers(0)
	}
}

// known is what decides what is to be done.
func (p *purge) known() (k struct {
	epoch            int64
	created, looked  time.Time
	waiting, settled int
	last             uint64
}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	k.epoch, k.created, k.looked, k.waiting, k.settled, k.last = p.epoch, p.created, p.looked, len(p.waiting), len(p.settled), p.last
	return k
}
