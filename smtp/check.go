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
	// Expires is the time at which the first certificate of the relay's chain
	// expires; the zero time in clear text.
	Expires time.Time
	// User is the user name that AUTH accepted; empty without AUTH.
	User string
	// Offers are the mechanisms of AUTH that it offers, if no user name is set.
	Offers string
	// Took is the time from dialing until the session was ready for MAIL.
	Took time.Duration
}

// Check opens one session at the relay of a valid configuration, up to and
// including AUTH, and quits. It sends no mail. The error is an *[Error] if the
// relay is at fault, else it names the variable that is wrong.
func Check(ctx context.Context, cfg Config) (*Checkup, error) {
	r, err := New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		return nil, err
	}
	defer r.Close(ctx) //nolint:errcheck // it has no session to wait for
	s, bad := r.dialer.open(ctx, r.credential.current())
	if bad != nil {
		if ctx.Err() != nil {
			late := newError(bad.Stage, down, "did not open a session in time", "check that it runs and that SMTP_URL is right")
			late.Relay, late.Err = r.Name(), context.Cause(ctx)
			return nil, late
		}
		return nil, bad
	}
	x := &Checkup{Relay: r.Name(), User: cfg.Username, Took: s.took}
	if cfg.Username == "" && len(s.ext.auth) > 0 {
		x.Offers = offered(s.ext)
	}
	if conn, ok := s.conn.(*tls.Conn); ok {
		state := conn.ConnectionState()
		x.TLS, x.Expires = tls.VersionName(state.Version), expires(state.VerifiedChains)
	}
	s.quit(ctx)
	return x, nil
}

// expires is the first expiry in the chain that lasts longest. The root is
// skipped: it is the verifier's own and not the relay's.
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
