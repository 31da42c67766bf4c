package devrelay

import (
	"errors"
	"fmt"
	"log/slog"
	"syscall"
)

// complaints is the server's log. A connection that is cut is not worth a line:
// a probe that only looks whether somebody listens cuts its own, every few seconds.
type complaints struct{ log *slog.Logger }

// Printf implements gosmtp.Logger.
func (c complaints) Printf(format string, v ...any) {
	for _, x := range v {
		if err, ok := x.(error); ok && errors.Is(err, syscall.ECONNRESET) {
			return
		}
	}
	c.log.Warn(fmt.Sprintf(format, v...))
}

// Println implements gosmtp.Logger.
func (c complaints) Println(v ...any) { c.log.Warn(fmt.Sprint(v...)) }
