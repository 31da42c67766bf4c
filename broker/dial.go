package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
)

// A worker that finds no broker tries again after dialPause and says so every
// dialReport.
const (
	dialPause  = time.Second
	dialReport = 30 * time.Second
)

// Dial connects to the broker at cfg.URL or, if that is empty, to the embedded
// broker that listens on this machine at cfg.Listen. If cfg names no credential
// and the broker that answers keeps its mail in cfg.DataDir, the credential there
// is used: the producer's for a [Publisher], else the operator's.
//
// It fails with [stream.ErrAway] if no broker can be reached. A [Worker] waits
// for one until ctx ends. Refused credentials and TLS failures are final for all.
func Dial(ctx context.Context, cfg Config, log *slog.Logger) (*Conn, error) {
	var reported time.Time
	for {
		c, err := dialOnce(ctx, cfg, log)
		if err == nil || cfg.Role != Worker || !errors.Is(err, stream.ErrAway) || ctx.Err() != nil {
			return c, err
		}
		if time.Since(reported) >= dialReport {
			reported = time.Now()
			log.Warn("waiting for the broker", "error", err)
		}
		if !stream.Pause(ctx, dialPause) {
			return nil, err
		}
	}
}

func dialOnce(ctx context.Context, cfg Config, log *slog.Logger) (*Conn, error) {
	urls, err := cfg.servers()
	if err != nil {
		return nil, fmt.Errorf("NATS_URL: %w", err)
	}
	servers := make([]string, len(urls))
	for i, u := range urls {
		servers[i] = u.String()
	}
	opts, key, err := cfg.credentials(ctx, log)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.ErrorHandler((&complaints{log: log, variables: cfg.credentialNames()}).report))
	c, err := open(ctx, cfg.Role, log, strings.Join(servers, ","), opts...)
	if err != nil {
		return nil, cfg.explain(err)
	}
	key.nc.Store(c.nc)
	if cfg.HasCredential() {
		c.variables = cfg.credentialNames()
	}
	if cfg.Role != Publisher && len(cfg.credentialKinds()) == 0 && cfg.owns(c.nc.ConnectedServerName()) {
		c.own = cfg.DataDir
	}
	return c, nil
}

// absent is [stream.ErrAway] in words that say more.
type absent string

func (a absent) Error() string { return string(a) }
func (absent) Unwrap() error   { return stream.ErrAway }

// refusal is [ErrRefused] in the words of the server.
type refusal struct{ error }

func (r refusal) Unwrap() []error { return []error{ErrRefused, r.error} }

// explain says what a failed connection means and what to do. The errors of
// nats.go name hosts and no credentials.
func (c Config) explain(err error) error {
	at := c.address()
	var (
		unknownCA *tls.CertificateVerificationError
		notTLS    tls.RecordHeaderError
		alert     tls.AlertError
	)
	switch {
	case unauthorized(err):
		if kinds := c.credentialKinds(); len(kinds) > 0 {
			return fmt.Errorf("connect to NATS at %s: it refuses the credentials of %s: %w", at, strings.Join(kinds, ", "), refusal{err})
		}
		return fmt.Errorf("connect to NATS at %s: it requires credentials; set NATS_CREDS, NATS_NKEY, NATS_USER or NATS_TOKEN, or POSTRIDER_DATA_DIR to the directory of that broker: %w", at, refusal{err})
	case errors.As(err, &unknownCA):
		return fmt.Errorf("connect to NATS at %s: its certificate is not trusted; set NATS_CA to the certificate that signed it: %w", at, err)
	case errors.As(err, &notTLS), errors.As(err, &alert), errors.Is(err, nats.ErrSecureConnRequired), errors.Is(err, nats.ErrSecureConnWanted):
		return fmt.Errorf("connect to NATS at %s: TLS fails; check NATS_URL, NATS_CA, NATS_CERT and NATS_KEY: %w", at, err)
	case c.URL == "" && errors.Is(err, nats.ErrNoServers):
		return absent(fmt.Sprintf("nothing listens at %s%s: set NATS_URL, or start a worker, which brings its own broker", at, c.kept()))
	case c.URL == "":
		return fmt.Errorf("connect to NATS at %s: %w; restart the worker, or set NATS_URL: %w", at, stream.ErrAway, err)
	}
	return fmt.Errorf("connect to NATS at %s: %w; check that it runs and that NATS_URL names it: %w", at, stream.ErrAway, err)
}
