package submit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// minPause is waited before the next batch if the broker takes none. It doubles
	// up to maxPause.
	minPause = time.Second
	maxPause = time.Minute
	// closedFor is how long a subject that took nothing is not tried again.
	closedFor = time.Second
)

// sender publishes one batch after the other.
type sender struct {
	client *Client
	say    func(why error)
	// Until retry mails are published singly, because the broker took no batch.
	retry time.Time
	pause time.Duration
	// closed has why a subject takes no mail at all: not every mail has to wait for that.
	closed map[string]refusal
}

// refusal is the error of all mails of a subject until then.
type refusal struct {
	err   error
	until time.Time
}

// size is what the mail adds to a batch.
func (o *outgoing) size() int {
	if o.msg == nil {
		return 0
	}
	return o.msg.Size()
}

// send publishes mails and waits until each has its result. A mail whose ID another of
// them has comes after that one.
func (s *sender) send(ctx context.Context, mails []*outgoing) {
	together, singly, repeated := s.sort(mails)
	for _, part := range together {
		s.atomically(ctx, part)
	}
	s.singly(ctx, singly)
	s.singly(ctx, repeated)
	for _, o := range mails {
		o.msg = nil // its memory is of no more use
	}
}

// sort tells the mails that can go in one batch, by the stream that takes them, from
// those that cannot: large ones, and those that repeat an ID. The rest have their result.
func (s *sender) sort(mails []*outgoing) (together map[string][]*outgoing, singly, repeated []*outgoing) {
	// Half, so that the headers of a batch need not be counted. A last message that
	// is too large would leave its batch open.
	large := int(s.client.nc.MaxPayload()-wire.Headroom) / 2
	together = map[string][]*outgoing{}
	ids := map[string]bool{}
	for _, o := range mails {
		if o.err == nil {
			o.err = s.isClosed(o.msg.Subject)
		}
		if o.err != nil {
			continue
		}
		id := o.msg.Header.Get(schema.HeaderMsgID)
		name, _ := stream.Of(o.msg.Subject) // a lane's own
		switch {
		case ids[id]:
			repeated = append(repeated, o)
		case o.size() > large:
			singly = append(singly, o)
		default:
			together[name] = append(together[name], o)
		}
		ids[id] = true
	}
	return together, singly, repeated
}

// atomically publishes mails of one stream in a batch or, if the broker refuses it or
// does not answer, singly: that tells which mail was the reason, and the broker drops
// what it has stored already.
func (s *sender) atomically(ctx context.Context, mails []*outgoing) {
	if len(mails) < 2 || time.Now().Before(s.retry) {
		s.singly(ctx, mails)
		return
	}
	err := s.client.tryBatch(ctx, mails)
	if err == nil {
		s.pause = 0
		return
	}
	if errors.Is(err, stream.ErrAway) {
		for _, o := range mails {
			o.lost = err
		}
	}
	s.singly(ctx, mails)
	explained := slices.ContainsFunc(mails, func(o *outgoing) bool { return o.err != nil || o.receipt.Duplicate })
	if !explained && !errors.Is(err, stream.ErrAway) {
		s.pause = min(max(2*s.pause, minPause), maxPause)
		s.retry = time.Now().Add(s.pause)
	}
}

// tryBatch publishes mails in one batch, once.
func (c *Client) tryBatch(ctx context.Context, mails []*outgoing) error {
	if err := ctx.Err(); err != nil {
		return err // a try would leave a batch open
	}
	writes := make([]stream.Write, len(mails))
	for i, o := range mails {
		writes[i].Msg = o.msg
	}
	// The last one gets the answer for all.
	ctx, stop := c.answerable(ctx, mails[len(mails)-1].msg.Subject)
	defer stop()
	first, err := c.store.Batch(ctx, writes)
	if err != nil {
		return err
	}
	for i, o := range mails {
		c.stored(o, stream.Ack{Sequence: first + uint64(i)})
	}
	return nil
}

// singly publishes each of the mails by itself, all at once: they are no more than a
// batch has.
func (s *sender) singly(ctx context.Context, mails []*outgoing) {
	var all sync.WaitGroup
	for _, o := range mails {
		all.Go(func() { s.client.publish(ctx, o, s.say) })
	}
	all.Wait()
	for _, o := range mails {
		if errors.Is(o.err, ErrNoLane) || errors.Is(o.err, errUntaken) || errors.Is(o.err, ErrForbidden) {
			s.closed[o.msg.Subject] = refusal{o.err, time.Now().Add(closedFor)}
		}
	}
}

// isClosed is why the subject takes no mail, as far as that is known.
func (s *sender) isClosed(subject string) error {
	if r := s.closed[subject]; time.Now().Before(r.until) {
		return r.err
	}
	return nil
}
