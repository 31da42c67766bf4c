// Package devrelay is the development relay: an SMTP server that keeps each
// mail it accepts as a file and sends nothing anywhere. What it answers goes by
// the recipient, so that a deferral, a dead letter and its replay can be seen
// without a mail server:
//
//	550@…   any three digits 5xx: refused for good
//	451@…   any three digits 4xx: refused twice for each message, then accepted
//	slow@…  accepted, the reply to the message comes late
//
// A message is known by its Message-ID, and so is refused for now only when it has been
// read. That reply is for all recipients of a transaction: a 4xx recipient has one alone,
// and the others are answered 452 4.5.3, to be sent in another one (RFC 5321 section
// 4.5.3.1.10).
//
// It knows neither TLS nor authentication and is no place to receive mail from
// a network.
package devrelay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

const (
	// maxMessage is what SIZE offers, in bytes.
	maxMessage = 32 << 20
	// maxRecipients for one transaction; RFC 5321 section 4.5.3.1.8 asks for 100 at least.
	maxRecipients = 1000
	// maxLine in bytes: twice what RFC 5321 section 4.5.3.1.6 allows.
	maxLine = 2000
	// readTimeout holds for a command, or a whole message (RFC 5321 section 4.5.3.2.7).
	readTimeout  = 5 * time.Minute
	writeTimeout = time.Minute
)

// Config is where the relay listens and what it keeps the mail in.
type Config struct {
	// Dir is the directory of the .eml files; made if it is missing. Two
	// relays must not share it.
	Dir string
	// Listen is host:port; port 0 takes a free one.
	Listen string
	// Stall is how long the reply waits if a recipient is slow@….
	Stall time.Duration
}

// DefaultConfig listens on a free port of this machine only. Dir is still to be set.
func DefaultConfig() Config {
	return Config{Listen: "127.0.0.1:0", Stall: 10 * time.Second}
}

// Relay is a running development relay. Its methods may be called concurrently.
type Relay struct {
	log      *slog.Logger
	stall    time.Duration
	store    *store
	refusals refusals
	listener net.Listener
	server   *gosmtp.Server
	served   chan struct{} // closed when the server takes no more connections

	stopping chan struct{} // closed once by Close

	mu   sync.Mutex     // orders busy.Add before Close's busy.Wait
	busy sync.WaitGroup // messages whose final reply is not yet written
}

// Start makes the directory and listens. ctx bounds the start only; the relay
// runs until [Relay.Close].
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Relay, error) {
	st, err := openStore(cfg.Dir)
	if err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen for the development relay on %s: %w", cfg.Listen, err)
	}
	r := &Relay{
		log: log, stall: cfg.Stall, store: st, listener: l,
		served: make(chan struct{}), stopping: make(chan struct{}),
	}
	r.server = r.newServer()
	go r.serve()
	return r, nil
}

func (r *Relay) newServer() *gosmtp.Server {
	s := gosmtp.NewServer(gosmtp.BackendFunc(func(*gosmtp.Conn) (gosmtp.Session, error) {
		return &session{relay: r}, nil
	}))
	s.Domain = "devrelay.invalid" // RFC 2606 section 2: nobody's name
	s.MaxMessageBytes = maxMessage
	s.MaxRecipients = maxRecipients
	s.MaxLineLength = maxLine
	s.ReadTimeout = readTimeout
	s.WriteTimeout = writeTimeout
	s.EnableSMTPUTF8 = true
	s.ErrorLog = complaints{r.log}
	return s
}

func (r *Relay) serve() {
	defer close(r.served)
	if err := r.server.Serve(r.listener); err != nil {
		r.log.Error("The development relay takes no more connections.", "error", err)
	}
}

// Addr is the host:port the relay listens on.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// URL is the relay as SMTP_URL names it: "smtp://127.0.0.1:2525?tls=none".
func (r *Relay) URL() string { return "smtp://" + r.Addr() + "?tls=none" }

// Path is the file that holds the mail accepted with "queued as <queueID>";
// false if there is none. It knows the mail of earlier runs too.
func (r *Relay) Path(queueID string) (string, bool) { return r.store.path(queueID) }

// begin counts a message in; false once the relay is closing.
func (r *Relay) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.stopping:
		return false
	default:
		r.busy.Add(1)
		return true
	}
}

// Close takes no new message, lets those in flight have their reply (stalled ones
// at once), and ends all connections. Where ctx ends first they are cut off and
// its error is returned. A second Close returns an error.
func (r *Relay) Close(ctx context.Context) error {
	if err := r.stop(); err != nil {
		return err
	}
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		r.busy.Wait()
	}()
	var cut error
	select {
	case <-idle:
	case <-ctx.Done():
		cut = fmt.Errorf("wait for mail in flight at the development relay: %w", context.Cause(ctx))
	}
	err := r.server.Close()
	// The server closes a listener only where Serve has got to it already.
	if lerr := r.listener.Close(); !errors.Is(lerr, net.ErrClosed) {
		err = errors.Join(err, lerr)
	}
	<-r.served
	return errors.Join(cut, err)
}

func (r *Relay) stop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.stopping:
		return errors.New("close the development relay: it is closed already")
	default:
		close(r.stopping)
		return nil
	}
}
