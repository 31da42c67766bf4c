package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/postrider/postrider/mail"
)

// dialer opens sessions. It has no state of its own and may be used by many.
type dialer struct {
	cfg     Config
	target  target
	tls     *tls.Config
	connect func(ctx context.Context, addr string) (net.Conn, error)
	metrics *metrics
	echoes  echoes
}

func newDialer(cfg Config) (*dialer, error) {
	t, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("read SMTP_URL: %w", err)
	}
	roots, err := cfg.roots()
	if err != nil {
		return nil, fmt.Errorf("read SMTP_CA_FILE: %w", err)
	}
	return &dialer{
		cfg: cfg, target: t, echoes: newEchoes(string(cfg.Password)),
		// RFC 8996: nothing below TLS 1.2.
		tls: &tls.Config{ServerName: t.host, RootCAs: roots, MinVersion: tls.VersionTLS12},
		connect: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}, nil
}

// open connects and goes all the way to a session that is ready for MAIL.
func (d *dialer) open(ctx context.Context) (*session, *fault) {
	start := time.Now()
	conn, f := d.dial(ctx)
	if f != nil {
		return nil, f
	}
	w := newWire(conn, d.echoes)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	x, f := d.prepare(ctx, w)
	if !stop() && f == nil {
		f = &fault{stage: mail.StageConnect, what: "was left before the session was ready", err: context.Cause(ctx)}
	}
	if f != nil {
		conn.Close()
		f.err = d.echoes.hideErr(f.err) // a certificate has words of its own
		return nil, f
	}
	now := time.Now()
	return &session{
		wire: w, ext: x, timeouts: d.cfg.Timeouts, metrics: d.metrics,
		id:     fmt.Sprintf("%08x", rand.Uint32()),
		opened: now, idleSince: now, took: now.Sub(start), trusted: d.cfg.Username != "",
	}, nil
}

func (d *dialer) dial(ctx context.Context) (net.Conn, *fault) {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeouts.Connect)
	defer cancel()
	conn, err := d.connect(ctx, d.target.addr())
	if err != nil {
		return nil, dialFault(err)
	}
	d.metrics.took("connect", time.Since(start))
	return conn, nil
}

// prepare takes a new connection through greeting, EHLO, TLS and AUTH.
func (d *dialer) prepare(ctx context.Context, w *wire) (extensions, *fault) {
	if d.target.tls == tlsImplicit {
		if f := d.handshake(ctx, w); f != nil {
			return extensions{}, f
		}
	}
	if f := d.greeting(w); f != nil {
		return extensions{}, f
	}
	name := ehloName(d.cfg.EHLOName, w.conn.LocalAddr())
	x, f := w.hello(name, d.cfg.Timeouts)
	if f != nil {
		return x, f
	}
	secured, f := d.startTLS(ctx, w, x)
	if f != nil {
		return x, f
	}
	if secured {
		// What was offered in the clear no longer counts (RFC 3207 section 4.2).
		if x, f = w.hello(name, d.cfg.Timeouts); f != nil {
			return x, f
		}
	}
	if d.cfg.Username == "" {
		return x, nil
	}
	start := time.Now()
	f = w.authenticate(d.cfg, x)
	d.metrics.took("auth", time.Since(start))
	return x, f
}

func (d *dialer) greeting(w *wire) *fault {
	r, err := w.read(d.cfg.Timeouts.Greeting)
	switch {
	case err != nil:
		return wireFault(mail.StageGreeting, err, "the connection")
	case r.code != 220:
		return replyFault(mail.StageGreeting, r, "refused the session", "see why it does so, or set SMTP_URL")
	}
	return nil
}

// startTLS puts the connection under TLS where the relay offers it, and reports
// whether it did. Once it is begun there is no way back to clear text.
func (d *dialer) startTLS(ctx context.Context, w *wire, x extensions) (bool, *fault) {
	switch {
	case d.target.tls == tlsNone || d.target.tls == tlsImplicit:
		return false, nil
	case !x.startTLS && d.target.tls == tlsOpportunistic:
		return false, nil
	case !x.startTLS:
		return false, &fault{
			stage: mail.StageTLS, trouble: alarming, what: "offers no STARTTLS, and TLS is required",
			todo: "use smtps:// or a port with STARTTLS in SMTP_URL, or add ?tls=none if clear text is meant",
		}
	}
	r, err := w.ask("STARTTLS", d.cfg.Timeouts.TLS)
	switch {
	case err != nil:
		return false, wireFault(mail.StageTLS, err, "STARTTLS")
	case r.code != 220:
		return false, replyFault(mail.StageTLS, r, "refused STARTTLS", "look at the relay's log")
	case w.r.Buffered() > 0:
		// Replies that came in the clear would be read as if TLS had brought them.
		return false, &fault{
			stage: mail.StageTLS, trouble: alarming, what: "sent something in clear text behind its reply to STARTTLS, as an attacker would",
			todo: "see who is between here and the relay",
		}
	}
	return true, d.handshake(ctx, w)
}

func (d *dialer) handshake(ctx context.Context, w *wire) *fault {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeouts.TLS)
	defer cancel()
	// The handshake sets no deadlines, and ones of earlier steps would end it.
	if err := w.conn.SetDeadline(start.Add(d.cfg.Timeouts.TLS)); err != nil {
		return handshakeFault(err, d.target.host)
	}
	conn := tls.Client(w.conn, d.tls)
	if err := conn.HandshakeContext(ctx); err != nil {
		return handshakeFault(err, d.target.host)
	}
	d.metrics.took("tls", time.Since(start))
	w.reset(conn)
	return nil
}
