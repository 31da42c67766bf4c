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

// Watch checks the store until ctx ends. After the disk was full the server's
// writes fail also when there is room again. Then Watch closes the store and
// opens it from what is on the disk. Clients stay connected. Where that is not
// possible it fails with [ErrBroken], but only when the disk has room, so that a
// new worker can open the store.
func (e *Server) Watch(ctx context.Context) error {
	w := &watch{Server: e}
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
	answer    chan *server.HealthStatus // nil if nothing is asked
	asked     time.Time
	short     bool   // the disk was short of room since the last good answer
	reopening bool   // the store was closed, and not all of it is open again
	said      string // what will be done, as it was logged last; empty if all is well
}

func (w *watch) tick(ctx context.Context) error {
	free, err := broker.FreeBytes(w.cfg.DataDir)
	room := err == nil && free >= roomToMend
	w.short = w.short || !room
	known, err := w.ask(ctx)
	w.broken.Store(errors.Is(err, ErrBroken))
	switch {
	case !known:
		return nil
	case err == nil:
		if w.said != "" {
			w.log.Info("the embedded broker stores mail again", "dir", w.cfg.DataDir)
		}
		w.said, w.short, w.reopening = "", !room, false
		return nil
	case w.broken.Load():
		w.say("the worker ends, and its supervisor has to start it again", err)
		if room {
			return err
		}
		return nil
	default:
		w.say("the worker goes on by itself", err)
		if !room {
			return nil
		}
		return w.mend(ctx)
	}
}

// say logs what keeps mail from being stored, once for each remedy.
func (w *watch) say(remedy string, err error) {
	if w.said != remedy {
		w.log.Error("the embedded broker cannot store mail: nothing is taken until there is room, then "+remedy, "error", err)
	}
	w.said = remedy
}

// ask asks the server how the store is, or waits for its answer to the last time.
// Without an answer it is not known yet, until that has taken too long.
func (w *watch) ask(ctx context.Context) (known bool, err error) {
	if w.answer == nil {
		w.answer, w.asked = make(chan *server.HealthStatus, 1), time.Now()
		go func(answer chan<- *server.HealthStatus) { answer <- w.look() }(w.answer)
	}
	select {
	case status := <-w.answer:
		w.answer = nil
		return true, w.health(status, w.reopening)
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

// mend opens the store again. What fails is tried again at the next tick.
func (w *watch) mend(ctx context.Context) error {
	w.reopening = true
	err := w.reopen(ctx)
	if w.broken.Store(errors.Is(err, ErrBroken)); w.broken.Load() {
		return err
	}
	if err != nil && ctx.Err() == nil {
		w.log.Error("open the store again", "dir", w.cfg.DataDir, "error", err)
	}
	return nil
}
