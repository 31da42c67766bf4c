package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// judgeState: is a stream or consumer there, ours, and as it must be?
func judgeState(check string, s broker.State) (Finding, bool) {
	f := Finding{Level: Problem, Check: check, At: s.Name, Do: provision}
	switch {
	case errors.Is(s.Err, broker.ErrForeign):
		f.Found, f.Do = s.Err.Error(), "rename or remove what is in the way, or give Postrider a NATS account of its own"
	case errors.Is(s.Err, broker.ErrMissing):
		f.Found = "is missing"
	case s.Err != nil:
		return unread(check, s.Name, s.Err), true
	case s.Newer:
		f.Level, f.Found, f.Do = Warning, "was set up by a newer Postrider, whose settings this one does not know", "use the postrider of that version"
	case older(s.Drift):
		f.Level, f.Found = Warning, "was set up by an older Postrider: "+strings.Join(s.Drift, "; ")
	case len(s.Drift) > 0:
		f.Found = strings.Join(s.Drift, "; ")
	default:
		return Finding{}, false
	}
	return f, true
}

// readable reports that the stream was there to be read.
func readable(x *broker.Examination, stream string) bool {
	return slices.ContainsFunc(x.Streams, func(s broker.StreamState) bool { return s.Name == stream && s.Info != nil })
}

// older: of the metadata, only the settings' version is ours to compare.
func older(drift []string) bool {
	return slices.ContainsFunc(drift, func(d string) bool { return strings.HasPrefix(d, "metadata ") })
}

func judgeStreams(x *broker.Examination) []Finding {
	var all []Finding
	for _, s := range x.Streams {
		if f, odd := judgeState("streams", s.State); odd {
			all = append(all, f)
		}
	}
	if len(all) == 0 {
		all = []Finding{{Level: OK, Check: "streams", At: queue.Counted(uint64(len(x.Streams)), "stream") + " of " + queue.Counted(uint64(len(x.Lanes)), "lane"), Found: "as they must be"}}
	}
	return all
}

// judgeLanes: do workers send what is in every lane? asked are POSTRIDER_LANES, if
// they are set.
func judgeLanes(x *broker.Examination, asked []wire.Lane) []Finding {
	if len(x.Lanes) == 0 {
		return []Finding{queue.NoLanes()}
	}
	var all []Finding
	for _, lane := range x.Lanes {
		var left uint64
		for _, s := range x.Streams {
			if s.Info != nil && s.Lane == lane {
				left += s.Info.State.Msgs
			}
		}
		if len(asked) > 0 && left > 0 && !slices.Contains(asked, lane) {
			all = append(all, Finding{Level: Warning, Check: "lanes", At: string(lane), Found: fmt.Sprintf("has %s and is not among POSTRIDER_LANES: no worker with these POSTRIDER_LANES sends them", queue.Counted(left, "message")), Do: "add it to POSTRIDER_LANES until it is empty"})
		}
	}
	return all
}

// judgeReplicas: is every replica of every stream there and up to date?
func judgeReplicas(x *broker.Examination) []Finding {
	var all []Finding
	replicated := 0
	for _, s := range x.Streams {
		if s.Info == nil || s.Info.Cluster == nil || s.Info.Config.Replicas < 2 {
			continue
		}
		replicated++
		if s.Info.Cluster.Leader == "" {
			all = append(all, Finding{Level: Problem, Check: "replicas", At: s.Name, Found: "has no leader: nothing is stored or handed out", Do: "start the servers of the cluster that are down"})
		}
		for _, r := range s.Info.Cluster.Replicas {
			switch {
			case r.Offline:
				all = append(all, Finding{Level: Warning, Check: "replicas", At: s.Name, Found: "the replica on " + r.Name + " is offline", Do: "start that server"})
			case !r.Current:
				all = append(all, Finding{Level: Warning, Check: "replicas", At: s.Name, Found: "the replica on " + r.Name + " is behind", Do: "wait for it to catch up; if it does not, look at that server's log"})
			}
		}
	}
	if len(all) == 0 && replicated > 0 {
		all = []Finding{{Level: OK, Check: "replicas", At: fmt.Sprintf("%d streams", replicated), Found: "all replicas are up to date"}}
	}
	return all
}

// logSilence is more than mail ever waits for its entry in the log.
const logSilence = time.Minute

// log looks for a record that was written after the last entry of the log.
func (p *Patient) log(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, wire.StreamEvent) || !readable(x, wire.StreamRecord) {
		return nil // said by the streams
	}
	s, err := p.Conn.JS().Stream(ctx, wire.StreamEvent)
	if err != nil {
		return []Finding{unread("log", wire.StreamEvent, err)}
	}
	last := s.CachedInfo().State.LastTime
	m, err := p.Conn.Store().Next(ctx, wire.StreamRecord, "mail.record.>", 0, last.Add(logSilence))
	switch {
	case errors.Is(err, stream.ErrNotFound):
		return []Finding{judgeLog(time.Time{}, p.Conn.Now())}
	case err != nil:
		return []Finding{unread("log", wire.StreamRecord, err)}
	}
	return []Finding{judgeLog(m.Time, p.Conn.Now())}
}

// judgeLog: does the log follow the records? missing is when a record was written that comes
// after the last entry; zero for none.
func judgeLog(missing, now time.Time) Finding {
	if missing.IsZero() || now.Sub(missing) < logSilence {
		return Finding{Level: OK, Check: "log", At: wire.StreamEvent, Found: "follows " + wire.StreamRecord}
	}
	return Finding{
		Level: Warning, Check: "log", At: wire.StreamEvent, Do: openLog,
		Found: "lacks what was recorded in the last " + now.Sub(missing).Round(time.Second).String() + ": postrider events does not see it",
	}
}
