package smtp

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// wire is a connection on which each write and each whole reply has its own
// deadline. It belongs to one goroutine at a time; only close may be called by
// another.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	// out is where commands and the body are put together.
	out []byte
	// echoes is what no reply may be heard to say.
	echoes echoes
}

func newWire(conn net.Conn, e echoes) *wire {
	w := &wire{echoes: e}
	w.reset(conn)
	return w
}

// reset goes on with another connection, forgetting what was buffered.
func (w *wire) reset(conn net.Conn) {
	w.conn = conn
	w.r = bufio.NewReaderSize(conn, 2*maxReplyLine)
}

// errUnasked: each reply follows what it answers (RFC 5321 section 4.2), so one
// that is there before belongs to nothing, and all that follow stand one too late.
var errUnasked = fmt.Errorf("%w: it replied before it was asked", errOutOfStep)

// write sends b. Where it returns an error the last byte of b was not sent:
// neither TCP nor TLS delivers the end of a write that failed.
func (w *wire) write(b []byte, within time.Duration) error {
	if w.r.Buffered() > 0 {
		return errUnasked
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}

// read reads one reply. The deadline covers all of it, so that a relay which
// sends a byte a second gains nothing.
func (w *wire) read(within time.Duration) (reply, error) {
	if err := w.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return reply{}, err
	}
	return readReply(w.r, w.echoes)
}

// listen waits a little where nothing is to be heard yet. The error says that the
// relay has replied all the same, or that it is gone.
func (w *wire) listen(within time.Duration) error {
	if err := w.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	switch _, err := w.r.Peek(1); {
	case err == nil:
		return errUnasked
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	default:
		return err
	}
}

// ask sends one command and reads its reply.
func (w *wire) ask(command string, within time.Duration) (reply, error) {
	w.out = append(append(w.out[:0], command...), "\r\n"...)
	if err := w.write(w.out, within); err != nil {
		return reply{}, err
	}
	return w.read(within)
}

// secure reports whether the connection is under TLS.
func (w *wire) secure() bool {
	_, ok := w.conn.(*tls.Conn)
	return ok
}
