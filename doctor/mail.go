package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// StuckAfter is how long mail may be ready, with nothing settled, before that is
// called wrong; BehindAfter how long where something moves.
const (
	StuckAfter  = 30 * time.Second
	BehindAfter = 10 * time.Minute
)

// mail looks at how old the mail is that could be sent now, by lane.
func (p *Patient) mail(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	for _, lane := range x.Lanes {
		ready, readable := readyIn(x, lane)
		if !readable {
			continue // said by the streams and consumers
		}
		oldest, err := p.oldest(ctx, lane)
		if err != nil {
			all = append(all, unread("mail", string(lane), err))
			continue
		}
		all = append(all, judgeMail(lane, ready, oldest, p.settled(ctx, lane), p.Conn.Now()))
	}
	return all
}

// readyIn is what could be sent now.
func readyIn(x *broker.Examination, lane wire.Lane) (n uint64, readable bool) {
	readable = true
	for _, c := range x.Consumers {
		switch {
		case c.Lane != lane:
		case c.Info == nil:
			readable = false
		default:
			n += c.Info.NumPending + uint64(c.Info.NumAckPending)
		}
	}
	return n, readable
}

// oldest is since when the oldest mail has been ready: accepted or due.
func (p *Patient) oldest(ctx context.Context, lane wire.Lane) (oldest time.Time, err error) {
	for _, s := range lane.Sources() {
		m, err := p.Conn.Store().Next(ctx, s.Stream, s.Filter(), 1, time.Time{})
		switch {
		case none(err):
		case err != nil:
			return oldest, err
		case oldest.IsZero() || m.Time.Before(oldest):
			oldest = m.Time
		}
	}
	return oldest, nil
}

// judgeMail: does the lane move? What is ready is fresh mail, and copies whose
// time has come.
func judgeMail(lane wire.Lane, ready uint64, oldest time.Time, settled bool, now time.Time) Finding {
	f := Finding{OK, "mail", "lane " + string(lane), "nothing is overdue", ""}
	if ready == 0 || oldest.IsZero() {
		return f
	}
	age := now.Sub(oldest)
	switch {
	case !settled && age > StuckAfter:
		f.Level = Problem
		f.Found = fmt.Sprintf("%d ready, the oldest for %s, and nothing was settled within the last minute", ready, age.Round(time.Second))
		f.Do = "see the findings about consumers and relay; postrider show says what a mail waits for"
	case age > BehindAfter:
		f.Level = Warning
		f.Found = fmt.Sprintf("behind: %d ready, the oldest for %s", ready, age.Round(time.Second))
		f.Do = moreWorkers
	}
	return f
}
