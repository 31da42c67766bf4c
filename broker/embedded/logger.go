package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// serverLog passes the server's log to slog. A fatal error, for which the server
// would end a process of its own, is kept.
type serverLog struct {
	log *slog.Logger
	// store is told of damage.
	store *Server

	mu   sync.Mutex
	err  error           // guarded by mu
	said map[string]bool // warnings of damage, guarded by mu
}

// manyDamages is how many different warnings of damage are reported as such.
const manyDamages = 100

// fatal is why the server could not start; nil if it did.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Noticef logs at level debug: the server announces each of its settings.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf logs a warning, or that the store is damaged.
func (l *serverLog) Warnf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	switch {
	case !damage(l.store, text):
		l.log.Warn(text)
	case l.news(text):
		l.store.damaged(text)
	}
}

// news reports that a warning is the first of its kind: the server repeats them at
// each read.
func (l *serverLog) news(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said[text] || len(l.said) == manyDamages {
		return false
	}
	l.said[text] = true
	return true
}

// Errorf logs an error.
func (l *serverLog) Errorf(format string, v ...any) { l.log.Error(fmt.Sprintf(format, v...)) }

// Fatalf keeps the error for [Start], which ends the server.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = errors.Join(l.err, fmt.Errorf(format, v...))
}

// Debugf does nothing: the server's debug log is off.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef does nothing: the server's trace log is off.
func (l *serverLog) Tracef(string, ...any) {}
