package doctor

import (
	"context"
	"slices"
	"strings"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// mail finds out whether each lane moves, and what the workers say of themselves.
func (p *Patient) mail(ctx context.Context, x *broker.Examination) []Finding {
	var all []Finding
	var lanes []queue.Lane
	workers := p.Queue.Workers(ctx)
	for _, name := range x.Lanes {
		if !countable(x, name) {
			continue // said by the streams and consumers
		}
		now := p.Conn.Now()
		l, err := workers.Lane(ctx, p.Queue, name, now)
		if err != nil {
			all = append(all, unread(queue.CheckMail, string(name), err))
			continue
		}
		all = append(append(all, l.Judge(now)), l.JudgeUnread()...)
		lanes = append(lanes, *l)
	}
	if !readable(x, wire.StreamState) {
		return all // said by the streams
	}
	return append(all, workers.Judge(lanes, p.Conn.Now())...)
}

// once leaves out what is said of the consumers of a lane if its mail is said to be taken
// by nobody.
func once(all []Finding) []Finding {
	return slices.DeleteFunc(slices.Clone(all), func(f Finding) bool {
		return f.Check == "consumers" && strings.HasPrefix(f.Found, notAsked) && slices.ContainsFunc(all, func(g Finding) bool {
			lane := wire.Lane(g.At)
			return g.Check == queue.CheckMail && strings.Contains(g.Found, "no worker takes mail of this lane") &&
				(strings.HasPrefix(f.At, lane.SendStream()+"/") || strings.HasPrefix(f.At, lane.LaterStream()+"/"))
		})
	})
}

// countable reports that everything is there that a lane is counted by.
func countable(x *broker.Examination, lane wire.Lane) bool {
	missing := func(c broker.ConsumerState) bool { return c.Lane == lane && c.Info == nil }
	return !slices.ContainsFunc(x.Consumers, missing) && readable(x, wire.StreamRecord)
}

// deadLetters counts the dead letters.
func (p *Patient) deadLetters(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, wire.StreamDead) {
		return nil // said by the streams
	}
	all, err := p.Queue.DeadLetters(ctx)
	if err != nil {
		return []Finding{unread("dead", wire.StreamDead, err)}
	}
	return []Finding{all.Judge(p.Conn.Now())}
}
