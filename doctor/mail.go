package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/schema"
)

// StuckAfter is how long mail may be ready, with nothing settled, before that is
// called wrong; BehindAfter how long where something moves.
const (
	StuckAfter  = 30 * time.Second
	BehindAfter = 10 * time.Minute
)

const (
	// readAtMost bounds the messages that are read one by one.
	readAtMost = 500
	// overdueAfter is more than a schedule takes to fire.
	overdueAfter = time.Minute
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
func readyIn(x *broker.Examination, lane schema.Lane) (n uint64, readable bool) {
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
func (p *Patient) oldest(ctx context.Context, lane schema.Lane) (oldest time.Time, err error) {
	for stream, filter := range map[string]string{lane.SendStream(): lane.SendSubject(), lane.LaterStream(): lane.DueFilter()} {
		m, err := p.Conn.Next(ctx, stream, filter, 1, time.Time{})
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
func judgeMail(lane schema.Lane, ready uint64, oldest time.Time, settled bool, now time.Time) Finding {
	f := Finding{OK, "mail", "lane " + string(lane), "nothing is overdue", ""}
	if ready == 0 || oldest.IsZero() {
		return f
	}
	age := now.Sub(oldest)
	switch {
	case !settled && age > StuckAfter:
		f.Level = Problem
		f.Found = fmt.Sprintf("%d ready, the oldest for %s, and nothing was settled within the last minute", ready, age.Round(time.Second))
		f.Do = "see the findings about consumers and relay; mailq show says what a mail waits for"
	case age > BehindAfter:
		f.Level = Warning
		f.Found = fmt.Sprintf("behind: %d ready, the oldest for %s", ready, age.Round(time.Second))
		f.Do = "more workers or a higher MAX_SESSIONS help, if the relay allows them"
	}
	return f
}

// stranded looks for what no consumer will hand out, by the sweep's rule.
func (p *Patient) stranded(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	for _, c := range x.Consumers {
		if c.Info == nil {
			continue
		}
		n, err := p.strandedIn(ctx, c)
		switch {
		case err != nil:
			all = append(all, unread("stranded", c.Info.Stream, err))
		case n > 0:
			all = append(all, Finding{Warning, "stranded", c.Info.Stream, counted(n, "message") + " at least that no consumer hands out any more", "a worker finds and settles them within a minute (SWEEP_INTERVAL): start one, and run mailq doctor again; if they stay, look at its log"})
		}
	}
	if len(all) == 0 && len(x.Consumers) > 0 {
		all = []Finding{{OK, "stranded", fmt.Sprintf("%d consumers", len(x.Consumers)), "no mail that nobody would hand out", ""}}
	}
	return all
}

// strandedIn counts, up to readAtMost. What was acked a moment ago may still be
// there, so the first one has to be there a second later too.
func (p *Patient) strandedIn(ctx context.Context, c broker.ConsumerState) (n int, err error) {
	end, filter := consumer.HandedOut(c.Info), c.Info.Config.FilterSubject
	first, err := p.next(ctx, c.Info.Stream, filter, 1)
	if err != nil || first == 0 || first > end {
		return 0, err
	}
	if err := sleep(ctx, time.Second); err != nil {
		return 0, err
	}
	for seq := first; n < readAtMost; n++ {
		if seq, err = p.next(ctx, c.Info.Stream, filter, seq); err != nil || seq == 0 || seq > end {
			return n, err
		}
		seq++
	}
	return n, nil
}

// next is the sequence of the next message; 0 for none.
func (p *Patient) next(ctx context.Context, stream, filter string, seq uint64) (uint64, error) {
	m, err := p.Conn.Next(ctx, stream, filter, seq, time.Time{})
	if none(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return m.Sequence, nil
}

// schedules looks at the copies that were stored first whether their time is
// still to come.
func (p *Patient) schedules(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	for _, s := range x.Streams {
		for _, lane := range x.Lanes {
			if s.Name != lane.LaterStream() || s.Info == nil {
				continue
			}
			due, err := p.dueTimes(ctx, lane)
			if err != nil {
				all = append(all, unread("schedules", s.Name, err))
				continue
			}
			all = append(all, judgeSchedules(s.Name, due, p.Conn.Now()))
		}
	}
	return all
}

// dueTimes are those of the lane's first schedules; the zero time for a copy
// that has none.
func (p *Patient) dueTimes(ctx context.Context, lane schema.Lane) (all []time.Time, err error) {
	for seq := uint64(1); len(all) < readAtMost; {
		m, err := p.Conn.Next(ctx, lane.LaterStream(), lane.LaterFilter(), seq, time.Time{})
		if none(err) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		at, _ := schema.ScheduledAt(m.Header)
		all, seq = append(all, at), m.Sequence+1
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
	f := Finding{Problem, "schedules", stream, "", "restart the broker, or in a cluster the server that leads " + stream}
	switch {
	case never > 0:
		f.Found = counted(never, "schedule") + " without a time, which will never be due"
		f.Do = "something other than Postrider wrote there: see who may publish to mail.later.>, and delete them: nats stream view " + stream
	case late > 0:
		f.Found = fmt.Sprintf("%s should have become due by now, of %d looked at: the broker's schedules stand still", counted(late, "schedule"), len(due))
	default:
		f.Level, f.Found, f.Do = OK, "every schedule's time is still to come", ""
	}
	return f
}

// letters counts the dead letters.
func (p *Patient) letters(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, schema.StreamDead) {
		return nil // said by the streams
	}
	all, err := p.Queue.Letters(ctx)
	if err != nil {
		return []Finding{unread("dead", schema.StreamDead, err)}
	}
	return []Finding{judgeLetters(all, p.Conn.Now())}
}

// judgeLetters: does somebody have to look at dead letters?
func judgeLetters(l *queue.Letters, now time.Time) Finding {
	var n uint64
	for _, some := range l.Lanes {
		n += some
	}
	f := Finding{OK, "dead", schema.StreamDead, "no dead letters", ""}
	if n == 0 {
		return f
	}
	f.Level, f.Do = Note, "mailq dead list, then mailq dead replay or discard"
	f.Found = fmt.Sprintf("%s, the oldest since %s", counted(int(n), "letter"), now.Sub(l.Oldest).Round(time.Second))
	if l.Recent > 0 {
		f.Level, f.Do = Warning, "mailq dead list --since 1h"
		f.Found += fmt.Sprintf("; %d within the last hour", l.Recent)
	}
	return f
}

// counted is a number and its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
