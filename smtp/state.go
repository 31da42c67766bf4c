package smtp

import "time"

// State is what a Relay knows of its relay at one moment.
type State struct {
	// Relay is its host:port.
	Relay string
	// Fault is why no mail is sent to it; nil if it is sent.
	Fault *Error
	// Trial: it accepts sessions again, and one message at a time is sent, to see whether
	// Fault is over.
	Trial bool
	// Since is when Fault began, or when it was over; zero if there was none.
	Since time.Time
	// Held are the senders whose mail the relay refuses while it accepts that of others,
	// each with the reply. Their mail is put off. At most 20 are named, and none whose mail
	// has all ended a while ago.
	Held []string
	// Next is when the relay is tried again; zero without Fault and on trial.
	Next time.Time
}

// Alarm reports that the fault may last until somebody changes something.
func (e *Error) Alarm() bool { return e.trouble >= refusing }

// State returns the state, and a channel that is closed when it changes.
func (r *Relay) State() (State, <-chan struct{}) {
	s, changed := r.circuit.look()
	s.Relay = r.Name()
	return s, changed
}

// look returns the state but for the relay's name, and a channel that is closed when it
// changes.
func (c *circuit) look() (State, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := State{Fault: c.why, Trial: c.trial, Since: c.openedAt, Held: c.refusals.senders(time.Now())}
	switch {
	case c.why == nil:
		s.Since = c.changed
	case !c.trial:
		s.Next = c.probeAt
		if a := c.why.again; a.After(s.Next) {
			s.Next = a // until then the relay is looked at without AUTH, or with a changed password
		}
	}
	return s, c.news
}

// tell has those who watch the state look again. The caller holds mu.
func (c *circuit) tell() {
	close(c.news)
	c.news = make(chan struct{})
}
