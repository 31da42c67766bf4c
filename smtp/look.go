package smtp

import (
	"crypto/tls"
	"fmt"
	"log/slog"
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
		if s, bad, _ = r.fresh(r.tidy, nil); s == nil {
			if r.tidy.Err() == nil {
				r.unopened(bad, begun)
			}
			r.pool.drop()
			return
		}
	}
	if level, what := s.describe(); r.Up() {
		r.circuit.log.Log(r.tidy, level, fmt.Sprintf("relay %s is ready: %s", r.Name(), what), "relay", r.Name(), "took", s.took.Round(time.Millisecond))
	}
	r.give(s)
}

// describe is what a session shows of the relay. It is a warning if a setting may be
// missing.
func (s *session) describe() (level slog.Level, what string) {
	tlsVersion, auth, hint := "no TLS", "no AUTH", ""
	if conn, ok := s.conn.(*tls.Conn); ok {
		tlsVersion = tls.VersionName(conn.ConnectionState().Version)
	}
	switch {
	case s.user != "":
		auth = "AUTH as " + s.user
	case len(s.ext.auth) > 0:
		level, hint = slog.LevelWarn, "; it offers AUTH "+offered(s.ext)+": if it refuses mail without, set SMTP_USERNAME and SMTP_PASSWORD"
	}
	return level, strings.Join(append([]string{tlsVersion, auth}, s.ext.words()...), ", ") + hint
}

// words are the extensions that messages use.
func (x extensions) words() (all []string) {
	if x.pipelining {
		all = append(all, "PIPELINING")
	}
	if x.eightBit {
		all = append(all, "8BITMIME")
	}
	if x.utf8 {
		all = append(all, "SMTPUTF8")
	}
	if x.maxSize > 0 {
		all = append(all, fmt.Sprintf("mails of up to %.1f MB", float64(x.maxSize)/1e6))
	}
	return all
}
