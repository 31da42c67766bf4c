package queue

import (
	"fmt"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// Level is how bad a finding is.
type Level string

// The levels, the worst first.
const (
	// Problem: mail does not move, or is not safe.
	Problem Level = "problem"
	// Warning: mail moves, but something will stop it or weakens the promise.
	Warning Level = "warning"
	// Note: nothing is wrong, or nothing could be examined.
	Note Level = "note"
	// OK: it is as it should be.
	OK Level = "ok"
)

// Finding is the result of one check.
type Finding struct {
	Level Level `json:"level"`
	// Check is what was checked for, in one word.
	Check string `json:"check"`
	// At is what was examined.
	At string `json:"looked_at"`
	// Found is what was found. Do is what to do about it, a command if there is
	// one; empty if there is nothing to do.
	Found string `json:"found"`
	Do    string `json:"do,omitempty"`
}

// Wrong reports that somebody has to do something.
func (f Finding) Wrong() bool { return f.Level == Problem || f.Level == Warning }

// CheckMail is the check of [Lane.Judge]; it looks at the lane of that name.
const CheckMail = "mail"

const (
	// stuckAfter is how long mail may be ready with nothing settled, behindAfter
	// how long if something moves.
	stuckAfter  = 30 * time.Second
	behindAfter = 10 * time.Minute
)

// What to do about a cluster without a leader, a lane without a worker, a full store and
// a slow lane. Package doctor has other words for an embedded broker.
const (
	StartServers = "start the servers of the NATS cluster that are down"
	StartWorker  = "start a worker; if one runs, its log says what it waits for (relay …, waiting for the broker), and its POSTRIDER_LANES may lack the lane"
	MakeRoom     = "make room on the broker's disk, or give its account more, and restart it"
	MoreSessions = "more workers or a higher SMTP_MAX_SESSIONS help, if the relay allows them"
)

// Judge gives the findings about the workers, their relays, each lane, the room and the
// dead letters.
func (s *Status) Judge() []Finding {
	all := s.Workers.Judge(s.Lanes, s.At)
	if len(s.Lanes) == 0 {
		all = append(all, NoLanes())
	}
	for i := range s.Lanes {
		all = append(all, s.Lanes[i].Judge(s.At))
		all = append(all, s.Lanes[i].JudgeUnread()...)
	}
	return append(all, s.Room.Judge(), s.Dead.Judge(s.At))
}

// NoLanes is the finding about a broker without any.
func NoLanes() Finding {
	return Finding{Problem, "lanes", "broker", "there is no lane to publish to", "start a worker, which makes them; or set NATS_URL to the broker that has them"}
}

// Judge finds out whether the lane moves. That a relay is down is a finding about the
// relay, by [Workers.Judge].
func (l *Lane) Judge(now time.Time) Finding {
	f := Finding{OK, CheckMail, string(l.Lane), "nothing is overdue", ""}
	if l.Ready() == 0 || l.Oldest.IsZero() {
		return f
	}
	age := now.Sub(l.Oldest)
	ready := fmt.Sprintf("%s ready, the oldest for %s", Counted(l.Ready(), "message"), Span(age))
	absence, outage, left := l.absence(), l.workers.outage(l.Lane), ""
	if l.Waiting+l.Due == 0 {
		left = l.workers.left(l.Lane, now)
	}
	stuck := min(age, now.Sub(l.workers.since(l.Lane))) // before they started nothing could be settled
	switch {
	case absence != "":
		f.Level, f.Found, f.Do = Problem, ready+", and no worker takes mail of this lane: "+absence, l.workers.Start(l.Lane)
	case outage != nil:
		f.Found = ready + ", waits for relay " + outage.Name
	case left != "":
		f.Found = ready + ", all in flight; " + left
	case l.Settled == 0 && stuck > stuckAfter:
		f.Level, f.Found = Problem, ready+", and nothing was settled within the last minute"
		f.Do = "look at the log of the workers: none of this lane runs, or their relay is down or defers everything; postrider show ID says what a message waits for"
		if running := l.workers.of(l.Lane); len(running) > 0 {
			f.Found += ", though its workers run and their relay is up: " + Names(hosts(running))
			f.Do = "look at the log of the workers, and at postrider events --since 10m; postrider show ID says what a message waits for"
		}
	case l.Settled > 0 && age > behindAfter:
		f.Level, f.Found, f.Do = Warning, "behind: "+ready, MoreSessions
	}
	return f
}

// Judge finds out whether the store takes what is to come.
func (r Room) Judge() Finding {
	f := Finding{OK, "room", "store", fmt.Sprintf("%s of %s are stored", Bytes(r.Used), Bytes(r.Limit)), ""}
	if r.Limit == 0 {
		f.Level, f.Found = Note, Bytes(r.Used)+" are stored; the broker has no limit for the account, so workers do not slow down before it is full"
		f.Do = "limit the account's max_file in the broker's configuration"
		return f
	}
	full := Percent(r.Used, r.Limit) + " full, " + f.Found + ": each worker takes "
	switch share := r.Share(); {
	case share >= broker.RoomForDue:
		f.Level, f.Found, f.Do = Problem, full+"mail one at a time from each lane until there is room", MakeRoom
	case share >= broker.RoomForFresh:
		f.Level, f.Found, f.Do = Warning, full+"fresh mail one at a time from each lane until there is room", MakeRoom
	}
	return f
}

// Share is the used part of the store, 0 if there is no limit.
func (r Room) Share() float64 {
	if r.Limit == 0 {
		return 0
	}
	return float64(r.Used) / float64(r.Limit)
}

// Judge finds out whether somebody has to look at dead letters.
func (d *DeadLetters) Judge(now time.Time) Finding {
	f := Finding{OK, "dead", wire.StreamDead, "no dead letters", ""}
	n := d.total()
	if n == 0 {
		return f
	}
	f.Level, f.Do = Note, "postrider dead list, then postrider dead replay or discard"
	f.Found = fmt.Sprintf("%s, the oldest died %s ago", Counted(n, "dead letter"), Span(now.Sub(d.Oldest)))
	if d.Recent > 0 {
		f.Level, f.Do = Warning, "postrider dead list --since 1h"
		f.Found += fmt.Sprintf("; %s within the last hour", Thousands(d.Recent))
	}
	return f
}
