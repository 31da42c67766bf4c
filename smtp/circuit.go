package smtp

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/mail"
)

// quietFor: a relay that asks for less again within this time, or refuses all mail, is
// not news. It has a limit that is reached again and again.
const quietFor = 10 * time.Minute

// exhaustedTimes is how much longer than PauseMax the pauses may become if a limit of the
// account is reached: it may be one of a day.
const exhaustedTimes = 10

// circuit keeps mail from a relay that is at fault. It opens on a fault. When a probe
// has opened a session up to and including AUTH, it closes, or is on trial if it was a
// message that met the fault: then one message at a time is sent, until one gets past
// the step of the fault. Any goroutine may use it.
type circuit struct {
	name     string
	log      *slog.Logger
	min, max time.Duration

	mu sync.Mutex
	// why is the fault that opened it; nil while it is closed.
	why *Error
	// met is the step of the fault that a message met since it opened; or empty.
	met mail.Stage
	// trial: one message at a time is sent. trying: there is one, and it has the turn
	// of that number.
	trial, trying bool
	turn          int
	openedAt      time.Time
	// changed is when it closed or went on trial.
	changed time.Time
	// held: a rule of the operator holds it, until mail gets past the step of the fault.
	held bool
	// said is when a fault that may come again and again was logged last, by its problem;
	// quiet: the fault was not logged for that reason.
	said  map[string]time.Time
	quiet bool
	// refusals tell when permanent replies are the relay's fault, or of a sender.
	refusals refusals
	// saidOf is when the log told of a sender last.
	saidOf map[string]time.Time
	// tried are the ids and senders of messages that met a fault that somebody has to fix,
	// since the circuit opened.
	tried map[string]bool
	// pause is the time to wait before the next probe. It grows until mail works
	// again: a relay that accepts sessions and refuses the mail is not asked
	// faster.
	pause time.Duration
	// up is closed while the relay may be used, on trial too; down is closed while it
	// may not. next is closed when the trial is over or another message may be tried.
	up, down, next chan struct{}
	// nudge ends the pause before the next probe.
	nudge chan struct{}
	// probeAt is when the next probe is. news is closed when anything changes that look
	// returns.
	probeAt time.Time
	news    chan struct{}
}

func newCircuit(name string, log *slog.Logger, c Config) *circuit {
	up := make(chan struct{})
	close(up)
	return &circuit{name: name, log: log, min: c.PauseMin, max: c.PauseMax, pause: c.PauseMin, said: make(map[string]time.Time), refusals: refusals{min: c.PauseMin, max: c.PauseMax}, up: up, down: make(chan struct{}), next: make(chan struct{}), news: make(chan struct{}), nudge: make(chan struct{}, 1)}
}

// state returns the fault that opened it, or nil, and a channel that is closed while
// the relay may be used.
func (c *circuit) state() (why *Error, up <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why, c.up
}

// pass is the answer to a message that wants to be sent.
type pass struct {
	// why is the fault because of which it may not.
	why *Error
	// putOff says that mail of its sender is not tried; probe: it is the one that is.
	putOff error
	probe  bool
	// wait is closed when it may ask again; nil if it may be sent. If after is not zero, it
	// may ask after that time too.
	wait  <-chan struct{}
	after time.Duration
	// down is closed when the relay may not be used any more.
	down <-chan struct{}
	// turn is the number of its turn, if the relay is on trial. Whoever has one must
	// call ended; and the probe, probed.
	turn int
}

// admit lets a message be sent, or not. The message may have a turn already. That of a
// sender who is held never waits: it would have the slots that others need.
func (c *circuit) admit(m *mail.Message, turn int) pass {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, others := c.refusals.held[m.From], c.trying && turn != c.turn
	if h != nil {
		h.asked = time.Now()
	}
	if h != nil && (others || !h.lets(messageKey(m), time.Now())) {
		return pass{putOff: h.putOff(m.From)}
	}
	p := c.take(m, turn)
	if p.probe = h != nil && p.down != nil; p.probe {
		h.probe = messageKey(m)
	}
	return p
}

// take gives the message the turn if the relay is on trial. The caller holds mu.
func (c *circuit) take(m *mail.Message, turn int) pass {
	switch {
	case c.why == nil:
		return pass{down: c.down}
	case !c.trial:
		return pass{why: c.why}
	case c.trying && turn != c.turn:
		return pass{wait: c.next}
	case !c.trying:
		if after := time.Until(c.changed.Add(c.yield(m))); after > 0 {
			return pass{wait: c.next, after: after}
		}
		c.trying = true
		c.turn++
	}
	return pass{down: c.down, turn: c.turn}
}

// ended ends the turn of a message, which got as far as that step without meeting a
// fault of the relay; or nowhere. passed is the last step that the relay agreed to.
func (c *circuit) ended(turn int, reached, passed mail.Stage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.trying || turn != c.turn {
		return // it met a fault
	}
	defer c.tell()
	c.trying = false
	if c.refusals.all || c.held {
		reached = passed
	}
	if slices.Index(envelopeOn, reached) >= slices.Index(envelopeOn, c.met) {
		c.close()
	}
	c.moved()
}

// tryLater notes that a message met a fault that somebody has to fix.
func (c *circuit) tryLater(m *mail.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tried == nil || len(c.tried) >= mostBlamed {
		c.tried = make(map[string]bool)
	}
	c.tried[messageKey(m)], c.tried[m.From] = true, true
}

// yields is how long a message waits for others to be tried before it.
const yields = 400 * time.Millisecond

// yield is how long a message lets others be tried before it: what has another sender
// is the first, then what was not tried before. One message that the relay will never
// accept must not take the turn of those that it would.
func (c *circuit) yield(m *mail.Message) (d time.Duration) {
	for _, x := range []string{messageKey(m), m.From} {
		if c.tried[x] {
			d += yields
		}
	}
	return d
}

// envelopeOn are the steps of a transaction, in their order.
var envelopeOn = []mail.Stage{mail.StageMail, mail.StageRcpt, mail.StageData, mail.StageBody, mail.StageDot}

// moved has those who wait for the trial ask again. The caller holds mu.
func (c *circuit) moved() {
	close(c.next)
	c.next = make(chan struct{})
}

// open opens it for e, which was met by work that began at that time. It reports
// false if it is open already, or has changed since.
func (c *circuit) open(e *Error, begun time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why != nil && !c.trial || begun.Before(c.changed) {
		return false
	}
	// What grew since mail worked stays grown.
	if e.pause > 0 && (c.pause < e.pause || c.pause == c.min && !c.trial) {
		c.pause = e.pause
	}
	if !c.trial {
		c.openedAt = time.Now()
	}
	c.probeAt = time.Time{}
	c.up, c.trial, c.trying = make(chan struct{}), false, false
	c.refusals.all, c.held = c.refusals.all || e.trouble == refusing, c.held || e.trouble == heldByRule
	close(c.down)
	c.note(e)
	c.moved()
	c.tell()
	return true
}

// ready notes that a probe has opened a session.
func (c *circuit) ready() {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.tell()
	c.changed, c.down = time.Now(), make(chan struct{})
	close(c.up)
	if c.met != "" {
		c.trial = true
		return
	}
	c.close()
}

// close closes it again. The caller holds mu.
func (c *circuit) close() {
	what := "sessions"
	if c.met != "" {
		what = "mail"
	}
	c.why, c.met, c.trial, c.held, c.changed = nil, "", false, false, time.Now()
	c.refusals.over(c.changed)
	c.tried = nil
	if c.quiet {
		return
	}
	c.log.Info(fmt.Sprintf("relay %s accepts %s again: sending resumes", c.name, what),
		"relay", c.name, "after", c.changed.Sub(c.openedAt).Round(time.Millisecond))
}

// failed notes what a probe met.
func (c *circuit) failed(e *Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note(e)
	c.tell()
}

// note notes a fault, and logs it only if it is news. The caller holds mu.
func (c *circuit) note(e *Error) {
	if news := c.why == nil || c.quiet || e.Problem != c.why.Problem || !e.again.IsZero() && e != c.why; news {
		again := slices.Contains([]trouble{throttled, exhausted, refusing, heldByRule}, e.trouble)
		c.quiet = again && time.Since(c.said[e.Problem]) < quietFor
		if again && !c.quiet {
			c.said[e.Problem] = time.Now()
		}
		if !c.quiet {
			c.say(e)
		}
	}
	c.why = e
	if slices.Contains(envelopeOn, e.Stage) {
		c.met = e.Stage
	}
}

// worked notes that the relay accepted mail, so that the next pause is a short one.
func (c *circuit) worked() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals.all || c.held {
		return // what it accepts before the step of the fault says nothing
	}
	c.pause = c.min
}

// wait pauses before the next probe. The jitter keeps workers that lost a relay
// together from coming back together. A relay that asked for less counts by the second,
// and gets the whole pause, and so does one whose pause an operator has set.
func (c *circuit) wait(ctx context.Context) error {
	c.mu.Lock()
	d := c.pause
	_, longest := c.why.pauses(c.min, c.max)
	if c.why.trouble != throttled && c.why.trouble != exhausted && c.why.pause == 0 {
		d -= time.Duration(rand.Float64() * 0.25 * float64(c.pause))
	}
	c.pause = min(2*c.pause, longest)
	c.probeAt = time.Now().Add(d)
	c.tell()
	c.mu.Unlock()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.nudge:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retry has the next probe come at once.
func (c *circuit) retry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.why == nil || c.trial {
		return
	}
	c.pause = c.min
	select {
	case c.nudge <- struct{}{}:
	default:
	}
}

// say logs what happened and what to do, once. The caller holds mu.
func (c *circuit) say(e *Error) {
	level, state := slog.LevelWarn, "mail waits"
	if e.Alarm() {
		level = slog.LevelError
	}
	if e.trouble == alarming {
		state = "mail waits until somebody fixes it"
	}
	first, longest := e.pauses(c.min, c.max)
	every := "trying again every " + check.Duration(first)
	if longest > first {
		every += " to " + check.Duration(longest)
	}
	if !e.again.IsZero() {
		in := check.Duration(time.Until(e.again).Round(time.Second)) + ", or after SIGHUP"
		every = "the password is tried again in " + in
		if e.reread {
			every = "the same one is tried again in " + in
		}
	}
	c.log.Log(context.Background(), level, fmt.Sprintf("%v: %s; %s; %s", e, state, e.Hint, every),
		"relay", c.name, "stage", string(e.Stage), "code", e.Code)
}
