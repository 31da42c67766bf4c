package queue

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// gaugesEvery is how often the broker is asked, gaugesFor how long once may take.
	gaugesEvery = 15 * time.Second
	gaugesFor   = 10 * time.Second
	// staleAfter is how long what was read is shown: an old number of waiting
	// messages is worse than none.
	staleAfter = 4 * gaugesEvery
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("postrider_"+name, help+" Read from the broker: every worker shows the same.", labels, nil)
}

var (
	descMessages = desc("queue_messages", "Messages of a lane by state: waiting, due, in_flight, scheduled.", "lane", "state")
	descOldest   = desc("queue_oldest_seconds", "How long the oldest message of a lane has been ready to be sent; 0 if none is.", "lane")
	descTakers   = desc("queue_takers", "Pulls that wait at the broker for mail of a lane; 0 while all sessions are busy or the relay is down.", "lane")
	descAccepted = desc("stream_accepted_total", "Messages that a stream has ever accepted.", "stream")
	descStored   = desc("stream_messages", "Messages in a stream.", "stream")
	descBytes    = desc("stream_bytes", "Bytes in a stream, on one replica.", "stream")
	descLag      = desc("event_lag_messages", "Records that MAIL_EVENT, the log people read, does not have yet.")
	descUsed     = desc("store_used_bytes", "Bytes stored for the account at the broker, all replicas together.")
	descLimit    = desc("store_limit_bytes", "Bytes that may be stored for the account; absent if there is no limit.")
)

// Gauges are the queue for Prometheus. They cost a few requests a lane every 15 s,
// however much is in it and however often they are scraped.
type Gauges struct {
	queue *Queue
	lanes []wire.Lane
	log   *slog.Logger

	mu   sync.Mutex
	last snapshot // guarded by mu: Watch writes it, Collect reads it
}

// snapshot is what the broker said at one time.
type snapshot struct {
	at          time.Time
	lanes       []Lane
	streams     []*jetstream.StreamInfo
	used, limit uint64
}

// NewGauges are the gauges of these lanes. They show nothing until [Gauges.Watch]
// has read once.
func (q *Queue) NewGauges(lanes []wire.Lane, log *slog.Logger) *Gauges {
	return &Gauges{queue: q, lanes: lanes, log: log}
}

// Watch reads until ctx ends.
func (g *Gauges) Watch(ctx context.Context) {
	t := time.NewTicker(gaugesEvery)
	defer t.Stop()
	for failing := false; ; {
		err := g.read(ctx)
		// Whoever fetches mail says that the broker is away.
		if news := err != nil && !errors.Is(err, stream.ErrAway); news != failing && ctx.Err() == nil {
			if failing = news; news {
				g.log.Warn("the queue's numbers cannot be read and are missing in /metrics", "error", err)
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gauges) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, gaugesFor)
	defer cancel()
	s := snapshot{at: g.queue.now()}
	for _, name := range g.lanes {
		l, streams, err := g.lane(ctx, name)
		if err != nil {
			return stream.Classify(err)
		}
		s.lanes, s.streams = append(s.lanes, l), append(s.streams, streams...)
	}
	for _, name := range []string{wire.StreamRecord, wire.StreamEvent, wire.StreamDead} {
		x, err := g.queue.stream(ctx, name)
		if err != nil {
			return stream.Classify(err)
		}
		s.streams = append(s.streams, x.CachedInfo())
	}
	var err error
	if s.used, s.limit, err = g.queue.room(ctx); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = s
	return nil
}

// lane is the state of a lane, without what is costly to count.
func (g *Gauges) lane(ctx context.Context, name wire.Lane) (Lane, []*jetstream.StreamInfo, error) {
	l := Lane{Lane: name}
	streams, err := g.queue.ready(ctx, &l)
	if err != nil {
		return l, nil, err
	}
	var infos []*jetstream.StreamInfo
	for _, s := range streams {
		if !s.fresh {
			l.Scheduled += s.notReady()
		}
		infos = append(infos, s.CachedInfo())
	}
	return l, infos, nil
}

// Describe implements [prometheus.Collector].
func (*Gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descMessages, descOldest, descTakers, descAccepted, descStored, descBytes, descLag, descUsed, descLimit,
	} {
		ch <- d
	}
}

// Collect implements [prometheus.Collector].
func (g *Gauges) Collect(ch chan<- prometheus.Metric) {
	g.mu.Lock()
	s := g.last
	g.mu.Unlock()
	now := g.queue.now()
	if now.Sub(s.at) > staleAfter {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, l := range s.lanes {
		lane := string(l.Lane)
		gauge(descMessages, float64(l.Waiting), lane, "waiting")
		gauge(descMessages, float64(l.Due), lane, "due")
		gauge(descMessages, float64(l.InFlight), lane, "in_flight")
		gauge(descMessages, float64(l.Scheduled), lane, "scheduled")
		gauge(descTakers, float64(l.Takers), lane)
		age := time.Duration(0)
		if !l.Oldest.IsZero() {
			age = max(0, now.Sub(l.Oldest))
		}
		gauge(descOldest, age.Seconds(), lane)
	}
	for _, i := range s.streams {
		gauge(descStored, float64(i.State.Msgs), i.Config.Name)
		gauge(descBytes, float64(i.State.Bytes), i.Config.Name)
		ch <- prometheus.MustNewConstMetric(descAccepted, prometheus.CounterValue, float64(i.State.LastSeq), i.Config.Name)
	}
	gauge(descLag, float64(s.lag()))
	gauge(descUsed, float64(s.used))
	if s.limit > 0 {
		gauge(descLimit, float64(s.limit))
	}
}

// lag is how many records the log does not have yet.
func (s snapshot) lag() uint64 {
	i := slices.IndexFunc(s.streams, func(i *jetstream.StreamInfo) bool { return i.Config.Name == wire.StreamEvent })
	var n uint64
	for _, source := range s.streams[i].Sources {
		n += source.Lag
	}
	return n
}
