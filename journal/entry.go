package journal

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

const (
	// entryLinger is how long an entry waits for company while many are written, unless
	// there are entriesEnough. Only its removal waits with it, nothing at the relay.
	entryLinger   = 80 * time.Millisecond
	entriesEnough = 200
	// entryTry is how long one try of an entry waits for the answer.
	entryTry = 5 * time.Second
	// logPatience is for how long MAIL_EVENT may be silent before entries are dropped. With
	// the last try mail waits for it at most 30 s.
	logPatience = 30*time.Second - entryTry
	// While entries are dropped, one in probeEvery is tried, for probeFor.
	probeEvery = 10 * time.Second
	probeFor   = time.Second
)

// entries writes the log.
type entries struct {
	commits  *stream.Committer
	log      *slog.Logger // this and the next are set before the first use
	unlogged prometheus.Counter

	mu sync.Mutex // guards what follows
	// silent is since when no entry was answered; zero if the last one was.
	silent time.Time
	// dropped is how many were dropped since the log was last written, and probe is when
	// the next one is tried. While probe is zero, none is dropped.
	dropped int
	probe   time.Time
}

func newEntries(s stream.Batcher) *entries {
	return &entries{commits: stream.NewCommitter(s, entryLinger, entriesEnough), log: slog.Default(), unlogged: prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "postrider", Name: "unlogged_total", Help: "Entries that are missing in MAIL_EVENT, the log people read, because it did not answer or had no room.",
	})}
}

// Report makes the journal count the entries that it drops in reg, and log it. It is called
// before the first use.
func (j *Journal) Report(log *slog.Logger, reg prometheus.Registerer) *Journal {
	j.entries.log = log
	reg.MustRegister(j.entries.unlogged)
	return j
}

// Enter writes the entry of a record, which has that sequence in MAIL_RECORD, into the log.
// Entering it again is allowed: readers leave out the double.
//
// Mail does not wait long for the log: if MAIL_EVENT has not answered for 30 s or has no
// room, the entry is dropped and counted, as are all that follow, until one is answered.
// So Enter fails only if ctx ends before that.
func (j *Journal) Enter(ctx context.Context, r *wire.Record, seq uint64) error {
	b, err := r.Encode()
	if err != nil {
		return err
	}
	m := nats.NewMsg(r.Key().EventSubject())
	m.Header.Set(wire.HeaderRecord, strconv.FormatUint(seq, 10))
	m.Data = b
	for e := j.entries; ; {
		began := time.Now()
		patience := e.patience(began)
		if patience == 0 {
			return nil
		}
		err := e.try(ctx, m, patience)
		switch {
		case err == nil:
			e.written()
			return nil
		case ctx.Err() != nil:
			return err
		case e.giveUp(began, err):
			return nil
		}
		stream.Pause(ctx, 100*time.Millisecond)
	}
}

func (e *entries) try(ctx context.Context, m *nats.Msg, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := e.commits.Set(ctx, m, "", 0, func() bool { return true })
	return err
}

// patience is how long an entry is tried now; 0 if it is dropped.
func (e *entries) patience(now time.Time) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.probe.IsZero():
		return entryTry
	case now.Before(e.probe):
		e.drop()
		return 0
	}
	e.probe = now.Add(probeEvery)
	return probeFor
}

// written notes an answer.
func (e *entries) written() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.probe.IsZero() {
		e.log.Info("the log is written again", "dropped", e.dropped)
	}
	e.silent, e.dropped, e.probe = time.Time{}, 0, time.Time{}
}

// giveUp notes a try that failed, which began then, and reports that its entry is dropped.
func (e *entries) giveUp(began time.Time, err error) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.silent.IsZero() {
		e.silent = began
	}
	if e.probe.IsZero() {
		if errors.Is(err, stream.ErrAway) && time.Since(e.silent) < logPatience {
			return false
		}
		e.log.Error("the log cannot be written: mail goes on, and its entries are missing in "+wire.StreamEvent+" until it answers and has room", "error", err)
		e.probe = time.Now().Add(probeEvery)
	}
	e.drop()
	return true
}

// drop counts an entry that is not written. e.mu is held.
func (e *entries) drop() {
	e.dropped++
	e.unlogged.Inc()
}
