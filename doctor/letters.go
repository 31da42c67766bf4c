package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// dead letters counts the dead letters.
func (p *Patient) deadLetters(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, wire.StreamDead) {
		return nil // said by the streams
	}
	all, err := p.Queue.DeadLetters(ctx)
	if err != nil {
		return []Finding{unread("dead", wire.StreamDead, err)}
	}
	return []Finding{judgeDeadLetters(all, p.Conn.Now())}
}

// judgeLetters: does somebody have to look at dead letters?
func judgeDeadLetters(l *queue.DeadLetters, now time.Time) Finding {
	var n uint64
	for _, some := range l.Lanes {
		n += some
	}
	f := Finding{OK, "dead", wire.StreamDead, "no dead letters", ""}
	if n == 0 {
		return f
	}
	f.Level, f.Do = Note, "postrider dead list, then postrider dead replay or discard"
	f.Found = fmt.Sprintf("%s, the oldest since %s", counted(int(n), "dead letter"), now.Sub(l.Oldest).Round(time.Second))
	if l.Recent > 0 {
		f.Level, f.Do = Warning, "postrider dead list --since 1h"
		f.Found += fmt.Sprintf("; %d within the last hour", l.Recent)
	}
	return f
}
