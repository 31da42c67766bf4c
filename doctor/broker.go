package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

func judgeServer(x *broker.Examination) []Finding {
	f := Finding{Level: OK, Check: "broker", At: x.Address, Found: fmt.Sprintf("version %s, JetStream API level %d", x.Version, x.Level)}
	if x.Old != nil {
		f.Level, f.Found, f.Do = Problem, x.Old.Error(), upgrade
	}
	return []Finding{f}
}

// judgeWrites: does acknowledged mail outlive a power cut?
func judgeWrites(x *broker.Examination) []Finding {
	f := Finding{Level: OK, Check: "writes", At: "streams", Found: "the embedded broker answers when mail is on the disk"}
	var single []string
	for _, s := range x.Streams {
		if s.Info != nil && s.Info.Config.Replicas == 1 {
			single = append(single, s.Name)
		}
	}
	switch {
	case x.Writes != nil:
		f.Level, f.Found, f.Do = Note, x.Writes.Found, x.Writes.Do // it may well be set: the broker does not tell
		if x.Cluster != "" {
			f.At = strings.Join(single, ", ")
		}
	case len(single) == 0:
		f.Found = "every stream has replicas, which must not lose power together"
	}
	return []Finding{f}
}

// judgeProducers: can producers do more than publish to lanes?
func judgeProducers(x *broker.Examination) []Finding {
	f := Finding{Level: OK, Check: "producers", At: "account of the streams", Found: "it is " + x.Account + ", not the one that everybody shares"}
	switch {
	case x.Producers != nil:
		f.Level, f.Found, f.Do = Warning, x.Producers.Found, x.Producers.Do
	case x.Account == "":
		f.Level, f.Found = Note, "the broker does not say which it is, so producers may share it"
	}
	return []Finding{f}
}

// promised is the share of the room that streams may have been promised, so
// that retries, records and dead letters find some.
const promised = 0.90

// judgeRoom: does the store take what is to come?
func judgeRoom(x *broker.Examination) []Finding {
	all := []Finding{judgeStore(x.Usage)}
	if x.Usage.Dir != "" {
		all = append(all, judgeDisk(x.Usage))
	}
	for _, s := range x.Streams {
		if s.Info != nil && s.Fresh && s.Info.Config.MaxBytes > 0 {
			all = append(all, judgeLaneRoom(s.Name, s.Info.State.Bytes, uint64(s.Info.Config.MaxBytes))...)
		}
	}
	return all
}

func judgeStore(u broker.Usage) Finding {
	f := roomOf(u).Judge()
	if f.Level == OK && float64(u.Reserved) >= promised*float64(u.Limit) {
		f.Level, f.Do = Warning, queue.MakeRoom
		f.Found += fmt.Sprintf(", but %s are promised to lanes and log: little is left for retries, records and dead letters", queue.Bytes(u.Reserved))
	}
	return f
}

func roomOf(u broker.Usage) queue.Room { return queue.Room{Used: u.Stored, Limit: u.Limit} }

// judgeDisk: at a full disk writes fail without an error.
func judgeDisk(u broker.Usage) Finding {
	f := Finding{Level: OK, Check: "disk", At: u.Dir, Found: queue.Bytes(u.Free) + " are free"}
	more := u.Limit - min(u.Limit, u.Stored)
	switch {
	case u.Free < broker.LeastDisk:
		f.Level, f.Found = Problem, queue.Bytes(u.Free)+" are free: mail cannot be stored"
	case u.Needs != nil:
		f.Level, f.Found, f.Do = Problem, "mail cannot be stored", u.Needs.Error()
	case u.Free < more:
		f.Level, f.Found = Warning, fmt.Sprintf("%s are free, less than the %s that the broker may still store: something else fills the disk", queue.Bytes(u.Free), queue.Bytes(more))
	}
	if f.Level != OK && f.Do == "" {
		f.Do = "make room on the file system of " + u.Dir
	}
	return f
}

// judgeLaneRoom: a full lane refuses its producers.
func judgeLaneRoom(stream string, bytes, limit uint64) []Finding {
	share := float64(bytes) / float64(limit)
	if share < broker.RoomForFresh {
		return nil
	}
	f := Finding{Level: Warning, Check: "room", At: stream, Found: fmt.Sprintf("%s of its MaxBytes are used: producers are refused when it is full", queue.Percent(bytes, limit)), Do: "let more workers or a higher SMTP_MAX_SESSIONS empty it, or give it more: nats stream edit " + stream + " --max-bytes SIZE"}
	if share >= broker.RoomForDue {
		f.Level = Problem
	}
	return []Finding{f}
}

// clockMay is how far clocks may be apart before people are misled.
const clockMay = 2 * time.Second

func (p *Patient) clock(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, wire.StreamRecord) {
		return nil // the time comes with its state
	}
	skew, margin, err := p.Conn.Skew(ctx)
	if err != nil {
		return []Finding{unread("clock", "the broker's clock", err)}
	}
	return []Finding{judgeClock(skew, margin)}
}

func judgeClock(skew, margin time.Duration) Finding {
	f := Finding{Level: OK, Check: "clock", At: "this machine's and the broker's", Found: fmt.Sprintf("%s apart", max(skew.Abs(), margin).Round(time.Millisecond))}
	if skew.Abs() > clockMay+margin {
		word := "behind"
		if skew > 0 {
			word = "ahead of"
		}
		f.Level, f.Do = Warning, "set both by NTP; workers go by the broker's, but logs and certificates do not"
		f.Found = fmt.Sprintf("the broker's clock is %s %s this machine's", skew.Abs().Round(time.Millisecond), word)
	}
	return f
}
