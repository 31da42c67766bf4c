package embedded

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/stream"
)

const (
	watchEvery = 2 * time.Second
	// answerFor bounds a wait for the server's answer, which comes within
	// milliseconds. It is asked once: later waits are for the same answer.
	answerFor = time.Second
	// After hangFor without an answer the store is taken for broken if its disk was
	// short of room, and after stuckFor in any case: a disk may stand still for long.
	hangFor, stuckFor = 30 * time.Second, 10 * time.Minute
	// roomToMend is the free space from which on the store is opened again. With
	// less the next mail might fill the disk once more.
	roomToMend = 2 * maxPayload
)

// ErrBroken: only a new process can open the store. What was acknowledged is on
// the disk. Where a purge meets a full disk, the server (2.15) locks a stream for
// good.
var ErrBroken = errors.New("the store of the embedded broker is broken: all mail is still on the disk, and a new worker opens it")

// ErrLost: files of the store were removed or replaced under the running server. What
// is queued in those streams is in the memory of this process and nowhere else.
var ErrLost = errors.New("the store of the embedded broker was removed from the disk: mail that is queued is only in this process")

// Watch checks the store until ctx ends. After the disk was full the server's
// writes fail also when there is room again. Then Watch closes the store and
// opens it from what is on the disk. Clients stay connected. Where that is not
// possible it fails with [ErrBroken], but only when the disk has room, so that a
// new worker can open the store.
//
// If files of the store were removed, it refuses producers for good, and fails with
// [ErrLost] once nothing is queued that is only in this process.
func (e *Server) Watch(ctx context.Context) error {
	w := &watch{Server: e, files: files{Server: e, streams: map[string]*streamFiles{}, lost: map[string]error{}}}
	for stream.Pause(ctx, watchEvery) {
		if err := w.tick(ctx); err != nil {
			return err
		}
	}
	return nil
}

// watch is the state of [Server.Watch], which runs in one goroutine.
type watch struct {
	*Server
	files     files
	answer    chan seen // nil if nothing is asked
	asked     time.Time
	refused   bool   // producers are refused
	short     bool   // the disk was short of room since the last good answer
	reopening bool   // the store was closed, and not all of it is open again
	said      string // what will be done, as it was logged last; empty if all is well
}

func (w *watch) tick(ctx context.Context) error {
	free, err := broker.FreeBytes(w.cfg.DataDir)
	room := err == nil && free >= roomToMend
	w.short = w.short || !room
	known, err := w.ask(ctx)
	if !known {
		return nil
	}
	w.fault.Store(&err)
	switch {
	case errors.Is(err, ErrLost):
		return w.lose(err)
	case err == nil:
		if w.said != "" {
			w.log.Info("the embedded broker stores mail again", "dir", w.cfg.DataDir)
		}
		w.said, w.short, w.reopening = "", !room, false
		return nil
	case errors.Is(err, ErrBroken):
		w.say(noRoom+"the worker ends, and its supervisor has to start it again", err)
		if room {
			return err
		}
		return nil
	default:
		w.say(noRoom+"the worker goes on by itself", err)
		if !room {
			return nil
		}
		return w.mend(ctx)
	}
}

const noRoom = "the embedded broker cannot store mail: nothing is taken until there is room, then "

// say logs what keeps mail from being stored, once for each sentence.
func (w *watch) say(sentence string, err error) {
	if w.said != sentence {
		w.log.Error(sentence, "error", err)
	}
	w.said = sentence
}

// ask asks the server how the store is, or waits for its answer to the last time.
// Without an answer it is not known yet, until that has taken too long.
func (w *watch) ask(ctx context.Context) (known bool, err error) {
	if w.answer == nil {
		w.answer, w.asked = make(chan seen, 1), time.Now()
		go func(answer chan<- seen) { answer <- w.see(ctx) }(w.answer)
	}
	select {
	case s := <-w.answer:
		w.answer = nil
		if s.lost != nil {
			return true, s.lost
		}
		return true, w.health(s.status, w.reopening)
	case <-ctx.Done():
		return false, nil
	case <-time.After(answerFor):
	}
	waited := time.Since(w.asked).Round(time.Second)
	if waited < hangFor || !w.short && waited < stuckFor {
		return false, nil
	}
	return true, fmt.Errorf("%w: it has not answered for %s (%s)", ErrBroken, waited, w.cfg.DataDir)
}

// seen is what a look at the store has found.
type seen struct {
	status *server.HealthStatus
	lost   error
}

// see looks at the store. It waits for as long as the server or the disk does not
// answer.
func (w *watch) see(ctx context.Context) seen { return seen{w.look(), w.files.check(ctx)} }

// lose refuses producers, and ends the worker when no mail is left that a new one
// would not find. Opened again, the store would be without it.
func (w *watch) lose(err error) error {
	w.say("files of the embedded broker's store were removed: queued mail is only in this process. Do not stop it while postrider status shows mail; it accepts no more, delivers what it has, and then ends with status 78", err)
	if !w.refused {
		if err := w.refuse(); err != nil {
			w.log.Error("refuse producers", "error", err)
			return nil
		}
		w.refused = true
	}
	if w.files.empty() {
		return err
	}
	return nil
}

// mend opens the store again. What fails is tried again at the next tick.
func (w *watch) mend(ctx context.Context) error {
	w.reopening = true
	err := w.reopen(ctx)
	if errors.Is(err, ErrBroken) {
		w.fault.Store(&err)
		return err
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("open the store again", "dir", w.cfg.DataDir, "error", err)
	}
	return nil
}
