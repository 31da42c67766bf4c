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
	// silentFor is how long a worker without an answer still calls itself ready.
	silentFor = 5 * time.Second
	// sayAgain is how often what stays as it is is logged.
	sayAgain = 10 * time.Minute
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
	w := newWatch(e)
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
	refused   bool                 // producers are refused
	short     bool                 // the disk was short of room since the last good answer
	reopening bool                 // the store was closed, and not all of it is open again
	said      map[string]time.Time // what was logged since all was well, and when
}

func newWatch(e *Server) *watch {
	return &watch{Server: e, said: map[string]time.Time{}, files: files{Server: e, streams: map[string]*streamFiles{}, lost: map[string]error{}}}
}

func (w *watch) tick(ctx context.Context) error {
	need := broker.CheckDisk(w.cfg.DataDir)
	w.short = w.short || need != nil
	known, err := w.ask(ctx)
	if !known {
		w.silent()
		return nil
	}
	w.fault.Store(&err)
	switch {
	case errors.Is(err, ErrLost):
		return w.lose(err)
	case err == nil:
		if len(w.said) > 0 {
			w.log.Info("the embedded broker stores mail again", "dir", w.cfg.DataDir)
		}
		w.said, w.short, w.reopening = map[string]time.Time{}, need != nil, false
	case errors.Is(err, ErrBroken):
		return w.end(need, err)
	default:
		w.unable("the worker opens its store again by itself", need, err)
		if need == nil {
			return w.mend(ctx)
		}
	}
	return nil
}

// end ends the worker if the disk needs nothing: a new one can open the store then.
func (w *watch) end(need, err error) error {
	w.unable("the worker ends, and its supervisor has to start it again", need, err)
	if need != nil {
		err = nil
	}
	return err
}

// unable logs what keeps mail from being stored, what the disk needs if it needs
// something, and what happens then.
func (w *watch) unable(then string, need, err error) {
	sentence := "the embedded broker cannot store mail: " + then
	if need != nil {
		sentence = fmt.Sprintf("the embedded broker cannot store mail: %v: nothing is taken until then, and then %s", need, then)
	}
	w.say(then, sentence, "error", err)
}

// say logs an error, once in a while for each kind.
func (w *watch) say(kind, sentence string, args ...any) {
	if time.Since(w.said[kind]) < sayAgain {
		return
	}
	w.said[kind] = time.Now()
	w.log.Error(sentence, args...)
}

// silent makes a fault of an answer that does not come. What to do about it is
// decided later.
func (w *watch) silent() {
	if waited := time.Since(w.asked).Round(time.Second); !w.refused && w.answer != nil && waited >= silentFor {
		err := fmt.Errorf("the store of the embedded broker has not answered for %s (%s)", waited, w.cfg.DataDir)
		w.fault.Store(&err)
	}
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
	if waited < hangFor || !w.short && waited < stuckFor || w.refused {
		return false, nil // if it is refused, a new process would not find the mail
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
	if !w.refused {
		w.keepDamage(err.Error())
	}
	w.say("lost", "files of the embedded broker's store were removed: queued mail is only in this process. Do not stop it while postrider status shows mail; it accepts no more, delivers what it has, and then ends with status 78", "error", err)
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
		w.say(err.Error(), "the store of the embedded broker cannot be opened again; it is tried every two seconds", "dir", w.cfg.DataDir, "error", err)
	}
	return nil
}
