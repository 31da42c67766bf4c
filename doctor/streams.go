package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
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

const (
	// logSilence is how long the log may hear nothing: a source may need 40 s
	// after a leader's death, and has a heartbeat otherwise.
	logSilence = time.Minute
	// logBehind is more than is ever under way.
	logBehind = 1000
)

// log reads the state of the source that MAIL_EVENT is filled by.
func (p *Patient) log(ctx context.Context, x *broker.Examination) []Finding {
	if !readable(x, wire.StreamEvent) {
		return nil // said by the streams
	}
	s, err := p.Conn.JS().Stream(ctx, wire.StreamEvent)
	if err != nil {
		return []Finding{unread("log", wire.StreamEvent, err)}
	}
	return []Finding{judgeLog(s.CachedInfo(), p.Conn.Now())}
}

// judgeLog: does the log follow the records?
func judgeLog(info *jetstream.StreamInfo, now time.Time) Finding {
	f := Finding{Level: Warning, Check: "log", At: wire.StreamEvent, Do: openSource}
	i := slices.IndexFunc(info.Sources, func(s *jetstream.StreamSourceInfo) bool { return s.Name == wire.StreamRecord })
	if i < 0 {
		f.Found = "does not source " + wire.StreamRecord + ": postrider events and show do not see what happens"
		return f
	}
	s := info.Sources[i]
	silent := s.Active
	if s.Active < 0 {
		silent = now.Sub(info.Created)
	}
	switch {
	case s.Error != nil:
		f.Found = "cannot read " + wire.StreamRecord + ": " + s.Error.Description
	case silent > logSilence:
		f.Found = fmt.Sprintf("has heard nothing of %s for %s: postrider events and show are behind", wire.StreamRecord, silent.Round(time.Second))
	case s.Lag > logBehind:
		f.Found = fmt.Sprintf("is %d records behind %s: postrider events and show are late", s.Lag, wire.StreamRecord)
	default:
		return Finding{Level: OK, Check: "log", At: wire.StreamEvent, Found: "follows " + wire.StreamRecord}
	}
	return f
}
