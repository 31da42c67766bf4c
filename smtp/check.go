package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"time"
)

// Checkup is what a session showed of the relay.
type Checkup struct {
	// Relay is its host:port.
	Relay string
	// TLS is the version, like "TLS 1.3"; empty in clear text.
	TLS string
	// Expires is when the first certificate of the relay's chain does; the zero
	// time in clear text.
	Expires time.Time
	// User is who AUTH proved us to be; empty where none was asked for.
	User string
	// Took is the time from dialing until it was ready for mail.
	Took time.Duration
}

// CheckError is why there is no session.
type CheckError struct {
	// Relay is its host:port. Found says what it did or did not do ("refused the
	// connection"), Do what to do.
	Relay, Found, Do string
	// Crowded: it only wants fewer sessions, and may well serve those it has.
	Crowded bool
}

// Error is a sentence with both.
func (t *CheckError) Error() string { return "relay " + t.Relay + " " + t.Found }

// Check opens one session at the relay of a valid configuration, all the way
// through AUTH, and takes leave: no mail is sent. The error is a *[CheckError]
// where the relay is at fault, else it names the variable that is wrong.
func Check(ctx context.Context, cfg Config) (*Checkup, error) {
	r, err := New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	defer r.Close(ctx) //nolint:errcheck // it has no session to wait for
	s, f := r.dialer.open(ctx)
	if f != nil {
		t := &CheckError{Relay: r.Name(), Found: f.Error(), Do: f.todo, Crowded: f.trouble == crowded}
		if ctx.Err() != nil {
			t.Found = "did not open a session in time"
		}
		return nil, t
	}
	x := &Checkup{Relay: r.Name(), User: cfg.Username, Took: s.took}
	if conn, ok := s.conn.(*tls.Conn); ok {
		state := conn.ConnectionState()
		x.TLS, x.Expires = tls.VersionName(state.Version), expires(state.VerifiedChains)
	}
	s.quit(ctx)
	return x, nil
}

// expires is when the first certificate does of the chain that lasts longest.
// The root is the verifier's own, not the relay's.
func expires(chains [][]*x509.Certificate) (last time.Time) {
	for _, chain := range chains {
		first := chain[0].NotAfter
		for _, c := range chain[1:max(1, len(chain)-1)] {
			if c.NotAfter.Before(first) {
				first = c.NotAfter
			}
		}
		if first.After(last) {
			last = first
		}
	}
	return last
}

// Within caps each timeout.
func (t Timeouts) Within(most time.Duration) Timeouts {
	for _, d := range []*time.Duration{
		&t.Connect, &t.TLS, &t.Greeting, &t.EHLO, &t.Auth, &t.Mail, &t.Rcpt, &t.Data, &t.Block, &t.Dot,
	} {
		*d = min(*d, most)
	}
	return t
}
