package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/schema"
)

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
