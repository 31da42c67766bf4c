package smtptest

import (
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is what the relay accepted.
type Message struct {
	At      time.Time
	Session int
	From    string
	Rcpts   []string
	// Data is the body, without dot-stuffing.
	Data []byte
	// TLS says whether the session was under TLS, User who logged in.
	TLS  bool
	User string
}

// Server is a running relay. Its methods may be called concurrently.
type Server struct {
	config
	listener net.Listener
	done     chan struct{}
	tasks    sync.WaitGroup

	mu       sync.Mutex
	conns    map[net.Conn]bool
	sessions []*transcript
	// talking counts the sessions in progress; peak is its maximum.
	talking  int
	peak     int
	accepted int
	messages []Message
}

type config struct {
	listen     string
	extensions []string
	scripts    []Script
	tls        *tls.Config
	implicit   bool
	user       string
	password   string
	forget     bool
	received   func(*Message)
	replied    func(*Message, error)
}

// Option changes the relay.
type Option func(*config)

// Listen sets the address; the default is a free port of 127.0.0.1.
func Listen(addr string) Option { return func(c *config) { c.listen = addr } }

// Extensions sets what the reply to EHLO offers; the default is PIPELINING,
// 8BITMIME, SMTPUTF8, ENHANCEDSTATUSCODES and SIZE 0. STARTTLS and AUTH are
// added by [TLS] and [Auth] alone.
func Extensions(lines ...string) Option { return func(c *config) { c.extensions = lines } }

// TLS offers STARTTLS with that certificate, or with implicit TLS from the
// first byte on.
func TLS(cert tls.Certificate, implicit bool) Option {
	return func(c *config) { c.tls, c.implicit = &tls.Config{Certificates: []tls.Certificate{cert}}, implicit }
}

// TLSConfig changes what [TLS] set.
func TLSConfig(change func(*tls.Config)) Option { return func(c *config) { change(c.tls) } }

// Auth demands AUTH PLAIN or LOGIN before MAIL.
func Auth(user, password string) Option {
	return func(c *config) { c.user, c.password = user, password }
}

// Forget keeps neither messages nor transcripts, only counts.
func Forget() Option { return func(c *config) { c.forget = true } }

// Received calls f with each message that will be accepted, before the reply. The
// message's Data is valid until f returns.
func Received(f func(*Message)) Option { return func(c *config) { c.received = f } }

// Replied calls f after the reply to such a message was written.
func Replied(f func(*Message, error)) Option { return func(c *config) { c.replied = f } }

// New starts a relay that ends with the test.
func New(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s, err := Start(opts...)
	if err != nil {
		t.Fatalf("start the relay: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// Start starts a relay.
func Start(opts ...Option) (*Server, error) {
	s := Deaf(opts...)
	l, err := net.Listen("tcp", s.listen)
	if err != nil {
		return nil, err
	}
	s.listener = l
	s.tasks.Go(s.accept)
	return s, nil
}

// Deaf makes a relay without a listener, which only [Server.Pipe] reaches.
func Deaf(opts ...Option) *Server {
	s := &Server{
		config: config{listen: "127.0.0.1:0", extensions: []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0"}},
		done:   make(chan struct{}),
		conns:  make(map[net.Conn]bool),
	}
	for _, o := range opts {
		o(&s.config)
	}
	return s
}

func (s *Server) accept() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.tasks.Go(func() { s.serve(conn) })
	}
}

// Pipe connects to the relay through a net.Pipe, for tests with synctest.
func (s *Server) Pipe() net.Conn {
	ours, theirs := net.Pipe()
	s.tasks.Go(func() { s.serve(ours) })
	return theirs
}

// Addr is the address it listens on.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// URL is the relay's SMTP_URL, with ?tls=none if it has no TLS.
func (s *Server) URL() string {
	switch {
	case s.tls == nil:
		return "smtp://" + s.Addr() + "?tls=none"
	case s.implicit:
		return "smtps://" + s.Addr()
	}
	return "smtp://" + s.Addr()
}

// Close ends the relay: it hangs up, releases what stalls, and waits.
func (s *Server) Close() {
	s.mu.Lock()
	select {
	case <-s.done:
	default:
		close(s.done)
	}
	s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	s.HangUp()
	s.tasks.Wait()
}

// HangUp closes all connections and keeps listening.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// Messages are the messages accepted so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Take returns the messages accepted since the last Take, and forgets them.
func (s *Server) Take() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.messages
	s.messages = nil
	return all
}

// Accepted is the number of messages accepted so far, also with [Forget].
func (s *Server) Accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.accepted
}

// Sessions is the number of connections so far.
func (s *Server) Sessions() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.sessions) }

// Open is the number of connections that are open.
func (s *Server) Open() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.conns) }

// Peak is the most connections that were open at the same time.
func (s *Server) Peak() int { s.mu.Lock(); defer s.mu.Unlock(); return s.peak }

// Transcript is the dialogue of a session, counted from 1, line by line, each after
// "C: " or "S: ", bodies included. Under TLS it is the clear text.
func (s *Server) Transcript(session int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if session < 1 || session > len(s.sessions) {
		return ""
	}
	return s.sessions[session-1].String()
}

// transcript collects the lines of one session.
type transcript struct {
	mu sync.Mutex
	b  strings.Builder
}

func (t *transcript) add(who string, line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b.WriteString(who)
	t.b.Write(line)
	if len(line) == 0 || line[len(line)-1] != '\n' {
		t.b.WriteByte('\n')
	}
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.b.String()
}
