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

// wire is a connection on which each write and each reply has its own deadline.
// It belongs to one goroutine at a time; another may only close conn.
type wire struct {
	conn net.Conn
	r    *bufio.Reader
	// out is the buffer for commands and blocks of the body.
	out []byte
	// echoes are withheld from every reply.
	echoes echoes
}

func newWire(conn net.Conn, e echoes) *wire {
	w := &wire{echoes: e}
	w.reset(conn)
	return w
}

// reset changes to another connection and forgets what was buffered.
func (w *wire) reset(conn net.Conn) {
	w.conn = conn
	w.r = bufio.NewReaderSize(conn, 2*maxReplyLine)
}

// errUnasked: each reply follows what it answers (RFC 5321 section 4.2). One that
// comes before answers nothing, and all that follow are one too late.
var errUnasked = fmt.Errorf("%w: it replied before it was asked", errOutOfStep)

// write sends b. If it returns an error, the last byte of b was not sent: neither
// TCP nor TLS delivers the end of a write that failed.
func (w *wire) write(b []byte, within time.Duration) error {
	if w.unasked() {
		return errUnasked
	}
	if err := w.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	return err
}

// unasked reports that a reply is there already. Empty lines are none, and are dropped.
func (w *wire) unasked() bool {
	for w.r.Buffered() > 0 {
		if c, _ := w.r.Peek(1); c[0] != '\r' && c[0] != '\n' {
			return true
		}
		_, _ = w.r.Discard(1) // it is buffered
	}
	return false
}

// read reads one reply. The deadline is for all of it, so that a relay cannot
// extend it by sending a byte a second.
func (w *wire) read(within time.Duration) (reply, error) {
	w.await(within)
	return readReply(w.r, w.echoes)
}

// await sets the deadline for what is read next. It fails only if the connection is closed,
// and then the read says so, after what had come before: a reply that is here counts.
func (w *wire) await(within time.Duration) {
	_ = w.conn.SetReadDeadline(time.Now().Add(within))
}

// listen waits a little at a time when no reply is due. The error says that the
// relay has replied all the same, or that it is gone.
func (w *wire) listen(within time.Duration) error {
	w.await(within)
	switch _, err := w.r.Peek(1); {
	case err == nil && w.unasked():
		return errUnasked
	case err == nil:
		return nil
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

// abortive has the connection end with a reset, however it ends: what has not left by then
// is dropped. Else the system goes on sending it, after we gave up the message and even
// after the process was killed, and the relay may get all of it, long after another session
// or worker has sent the message again.
func (w *wire) abortive(on bool) {
	seconds := -1 // the system's own way
	if on {
		seconds = 0
	}
	if tcp, ok := w.raw().(*net.TCPConn); ok {
		_ = tcp.SetLinger(seconds) // fails only if it has ended already
	}
}

// raw is the connection below TLS.
func (w *wire) raw() net.Conn {
	if secured, ok := w.conn.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return w.conn
}

// secure reports whether the connection is under TLS.
func (w *wire) secure() bool {
	_, ok := w.conn.(*tls.Conn)
	return ok
}
