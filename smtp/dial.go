package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/postrider/postrider/internal/reread"
	"github.com/postrider/postrider/mail"
)

// dialer opens sessions. Any goroutine may use it.
type dialer struct {
	cfg     Config
	target  target
	tls     *tls.Config
	roots   *reread.Kept // nil without SMTP_CA_FILE
	connect func(ctx context.Context, addr string) (net.Conn, error)
	metrics *metrics
	quirks  *quirks
	heard   func()
	echoes  echoes
	// credential is the relay's.
	credential *credential
}

func newDialer(cfg Config, log *slog.Logger) (*dialer, error) {
	t, err := parseURL(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("read SMTP_URL: %w", err)
	}
	var roots *reread.Kept
	if cfg.CAFile != "" {
		content, err := cfg.authorities().Read()
		if err != nil {
			return nil, err
		}
		roots = reread.Keep(cfg.authorities(), content, log)
	}
	return &dialer{
		cfg: cfg, target: t, echoes: newEchoes(string(cfg.Password)),
		// RFC 8996: nothing below TLS 1.2.
		tls: &tls.Config{ServerName: t.name, MinVersion: tls.VersionTLS12}, roots: roots,
		connect: func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		},
	}, nil
}

// with is d with that password. Replies that repeat it are withheld as those of the first.
func (d *dialer) with(password mail.Secret) *dialer {
	if password == d.cfg.Password {
		return d
	}
	c := *d
	c.cfg.Password, c.echoes = password, newEchoes(string(password))
	return &c
}

// open connects and returns a session that is ready for MAIL.
func (d *dialer) open(ctx context.Context, password mail.Secret) (*session, *Error) {
	d = d.with(password)
	start := time.Now()
	w, x, bad := d.establish(ctx)
	if bad != nil {
		bad.Relay = d.target.addr()
		bad.Err = d.echoes.hideErr(bad.Err) // a certificate has words of its own
		return nil, bad
	}
	w.abortive(true)
	now := time.Now()
	return &session{
		wire: w, ext: x, timeouts: d.cfg.Timeouts, metrics: d.metrics, quirks: d.quirks, heard: d.heard, credential: d.credential,
		id:     fmt.Sprintf("%08x", rand.Uint32()),
		opened: now, idleSince: now, took: now.Sub(start), user: d.cfg.Username, trusted: d.cfg.Username != "",
	}, nil
}

// establish connects and prepares the connection; on an error it is closed.
func (d *dialer) establish(ctx context.Context) (*wire, extensions, *Error) {
	by := time.Now().Add(d.cfg.Timeouts.Connect)
	conn, bad := d.dial(ctx, by)
	if bad != nil {
		return nil, extensions{}, bad
	}
	w := newWire(conn, d.echoes)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	x, bad := d.prepare(ctx, w, by)
	if !stop() && bad == nil {
		bad = newError(mail.StageConnect, fine, "was left before the session was ready", "")
		bad.Err = context.Cause(ctx)
	}
	if bad != nil {
		conn.Close()
	}
	return w, x, bad
}

func (d *dialer) dial(ctx context.Context, by time.Time) (net.Conn, *Error) {
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	conn, err := d.connect(ctx, d.target.addr())
	if err != nil {
		return nil, dialError(err)
	}
	d.metrics.took("connect", time.Since(start))
	return conn, nil
}

// prepare takes a new connection through greeting, EHLO, TLS and AUTH. It must
// be greeted by that time.
func (d *dialer) prepare(ctx context.Context, w *wire, by time.Time) (extensions, *Error) {
	if d.target.tls == tlsImplicit {
		if bad := d.handshake(ctx, w, by); bad != nil {
			return extensions{}, bad
		}
	}
	if bad := greeting(w, by); bad != nil {
		return extensions{}, bad
	}
	name := ehloName(d.cfg.EHLOName, w.conn.LocalAddr())
	x, bad := w.hello(name, d.cfg)
	if bad != nil {
		return x, bad
	}
	secured, bad := d.startTLS(ctx, w, x)
	if bad != nil {
		return x, bad
	}
	if secured {
		// What was offered in clear text no longer counts (RFC 3207 section 4.2).
		if x, bad = w.hello(name, d.cfg); bad != nil {
			return x, bad
		}
	}
	if d.cfg.Username == "" {
		return x, nil
	}
	start := time.Now()
	bad = w.authenticate(d.cfg, x)
	d.metrics.took("auth", time.Since(start))
	return x, bad
}

func greeting(w *wire, by time.Time) *Error {
	r, err := w.read(time.Until(by))
	switch {
	case err != nil:
		return silenceError(mail.StageGreeting, "", err)
	case r.code != 220:
		return replyError(mail.StageGreeting, "", r, "refused the session", "ask its operator, or read its log")
	}
	return nil
}

// startTLS puts the connection under TLS if the relay offers it, and reports
// whether it did. Once begun, there is no way back to clear text.
func (d *dialer) startTLS(ctx context.Context, w *wire, x extensions) (bool, *Error) {
	switch {
	case d.target.tls == tlsNone || d.target.tls == tlsImplicit:
		return false, nil
	case !x.startTLS && d.target.tls == tlsOpportunistic:
		return false, nil
	case !x.startTLS:
		return false, newError(mail.StageTLS, alarming, "offers no STARTTLS, and TLS is required",
			"use smtps:// or a port with STARTTLS in SMTP_URL, or add ?tls=none if clear text is meant")
	}
	by := time.Now().Add(d.cfg.Timeouts.Connect)
	r, err := w.ask("STARTTLS", time.Until(by))
	switch {
	case err != nil:
		return false, silenceError(mail.StageTLS, "STARTTLS", err)
	case r.code != 220:
		return false, replyError(mail.StageTLS, "STARTTLS", r, "refused STARTTLS", "check the relay's log")
	case w.r.Buffered() > 0:
		// Replies that came in clear text would be read as if they came under TLS.
		return false, newError(mail.StageTLS, alarming, "sent something in clear text after its reply to STARTTLS, as an attacker would",
			"see who is between here and the relay")
	}
	return true, d.handshake(ctx, w, by)
}

// trusting is the configuration with the certificates that SMTP_CA_FILE holds now.
func (d *dialer) trusting() *tls.Config {
	if d.roots == nil {
		return d.tls // trusts the system's
	}
	c := d.tls.Clone()
	c.RootCAs = rootsWith(d.roots.Now())
	return c
}

func (d *dialer) handshake(ctx context.Context, w *wire, by time.Time) *Error {
	start := time.Now()
	ctx, cancel := context.WithDeadline(ctx, by)
	defer cancel()
	// The handshake sets no deadlines, and those of earlier steps would end it.
	if err := w.conn.SetDeadline(by); err != nil {
		return handshakeError(err, d.target.name)
	}
	conn := tls.Client(w.conn, d.trusting())
	if err := conn.HandshakeContext(ctx); err != nil {
		return handshakeError(err, d.target.name)
	}
	d.metrics.took("tls", time.Since(start))
	w.reset(conn)
	return nil
}
