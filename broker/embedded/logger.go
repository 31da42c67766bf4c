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

	mu  sync.Mutex
	err error // guarded by mu
}

// fatal is why the server could not start; nil if it did.
func (l *serverLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Noticef logs at level debug: the server announces each of its settings.
func (l *serverLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }

// Warnf logs a warning.
func (l *serverLog) Warnf(format string, v ...any) { l.log.Warn(fmt.Sprintf(format, v...)) }

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
