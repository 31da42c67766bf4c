package embedded

import (
	"bytes"
	"log/slog"
	"sync"
)

// Healthy reports what keeps the server from storing mail.
func (e *Server) Healthy() error { return e.health(e.look(), false) }

// Logged is what was logged. It can be read while it is written.
type Logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *Logged) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *Logged) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

// Logger logs as text.
func (l *Logged) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Looked gives what a look of [Server.Watch] found, once for each.
func (e *Server) Looked() (fault error, looked bool) {
	if err := e.fault.Swap(nil); err != nil {
		return *err, true
	}
	return nil, false
}
