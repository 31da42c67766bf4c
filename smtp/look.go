package smtp

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"
)

// Look opens a session in the background, up to and including AUTH, and logs what it
// shows, so that a fault is known before the first message needs the relay. The session
// is kept for messages.
func (r *Relay) Look() { r.tasks.Go(r.look) }

func (r *Relay) look() {
	s, err := r.pool.take(r.tidy, nil)
	if err != nil {
		return
	}
	if s == nil {
		begun := time.Now()
		var bad *Error
		if s, bad, err = r.fresh(r.tidy, nil); s == nil {
			if r.tidy.Err() == nil {
				r.unopened(bad, begun)
			}
			r.pool.drop()
			return
		}
	}
	if r.Up() {
		r.describe(s)
	}
	r.give(s)
}

// describe logs what a session shows of the relay.
func (r *Relay) describe(s *session) {
	what := []string{"no TLS"}
	if conn, ok := s.conn.(*tls.Conn); ok {
		what[0] = tls.VersionName(conn.ConnectionState().Version)
	}
	say, hint := r.circuit.log.Info, ""
	switch {
	case r.cfg.Username != "":
		what = append(what, "AUTH as "+r.cfg.Username)
	case len(s.ext.auth) > 0:
		what = append(what, "no AUTH")
		say, hint = r.circuit.log.Warn, "; it offers AUTH "+offered(s.ext)+": if it refuses mail without, set SMTP_USERNAME and SMTP_PASSWORD"
	default:
		what = append(what, "no AUTH")
	}
	for _, x := range []struct {
		name    string
		offered bool
	}{{"PIPELINING", s.ext.pipelining}, {"8BITMIME", s.ext.eightBit}, {"SMTPUTF8", s.ext.utf8}} {
		if x.offered {
			what = append(what, x.name)
		}
	}
	if n := s.ext.maxSize; n > 0 {
		what = append(what, fmt.Sprintf("mails of up to %.1f MB", float64(n)/1e6))
	}
	say(fmt.Sprintf("relay %s is ready: %s%s", r.Name(), strings.Join(what, ", "), hint), "relay", r.Name(), "took", s.took.Round(time.Millisecond))
}
