package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// overdueAfter is more than a schedule takes to fire.
const overdueAfter = time.Minute

// schedules finds out whether a copy is overdue, of those that were stored first.
func (p *Patient) schedules(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	for _, s := range x.Streams {
		if s.Lane == "" || s.Fresh || s.Info == nil {
			continue
		}
		due, err := p.dueTimes(ctx, s.Source)
		if err != nil {
			all = append(all, unread("schedules", s.Name, err))
			continue
		}
		all = append(all, judgeSchedules(s.Name, due, p.Conn.Now()))
	}
	return all
}

// dueTimes are those of the source's first schedules; the zero time for a copy
// that has none.
func (p *Patient) dueTimes(ctx context.Context, s wire.Source) (all []time.Time, err error) {
	for m, err := range stream.All(ctx, p.Conn.Store(), s.Stream, s.Lane.CopySubjects(wire.CopyLater), stream.Range{}) {
		if err != nil {
			return all, err
		}
		at, _ := wire.ScheduledAt(m.Header)
		if all = append(all, at); len(all) == readAtMost {
			break
		}
	}
	return all, nil
}

// judgeSchedules: will what is scheduled be sent?
func judgeSchedules(stream string, due []time.Time, now time.Time) Finding {
	late, never := 0, 0
	for _, at := range due {
		switch {
		case at.IsZero():
			never++
		case now.Sub(at) > overdueAfter:
			late++
		}
	}
	f := Finding{Level: Problem, Check: "schedules", At: stream, Do: wakeSchedules}
	switch {
	case never > 0:
		f.Found = queue.Counted(uint64(never), "schedule") + " without a time, which will never be due"
		f.Do = "something other than Postrider wrote there: see who may publish to mail.copy.>, and delete them: nats stream view " + stream
	case late > 0:
		f.Found = fmt.Sprintf("%s should have become due by now, of %d examined: the broker does not fire them", queue.Counted(uint64(late), "schedule"), len(due))
	default:
		f.Level, f.Found, f.Do = OK, "no schedule is overdue", ""
	}
	return f
}
