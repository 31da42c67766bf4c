package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/postrider/postrider/mail"
)

// BDAT sends a message as it is, after its size (RFC 3030). It needs no reply to DATA, so
// that a whole transaction may be sent at once, and more than one of them.

// errResized: the message's line ends are not all CRLF. They are made so, and then its
// size is not the one that BDAT has announced.
var errResized = errors.New("the message has not the size that BDAT announced")

// longestFirst is in bytes, line end included.
const longestFirst = 1000

// fieldName is the beginning of a header line. No SMTP command has that form.
var fieldName = regexp.MustCompile(`^[!-9;-~]+:`)

// takeFirst finds the first line of the message, which goes in a chunk of its own: if
// the relay takes it for a command, nothing comes of it. A message without such a line
// goes with DATA. (Postfix refuses an empty chunk.)
func (t *transaction) takeFirst(src io.Reader) io.Reader {
	r := bufio.NewReader(src)
	all, _ := r.Peek(longestFirst)
	line, _, ended := bytes.Cut(all, []byte("\r\n"))
	if t.chunks = ended && fieldName.Match(line) && !bytes.ContainsAny(line, "\r\n"); t.chunks {
		t.first = bytes.Clone(all[:len(line)+2])
	}
	return r
}

// appendBDAT adds the command before a chunk.
func appendBDAT(b []byte, size int64, last string) []byte {
	b = strconv.AppendInt(append(b, "BDAT "...), size, 10)
	return append(append(b, last...), "\r\n"...)
}

// probed handles the reply to the first chunk, unless it is one that DATA could have had.
func (t *transaction) probed(st step, r reply) bool {
	switch {
	case r.positive() && !ofAnother(r.code):
		t.proven = true
		t.pool.hear()
		t.d.reached, t.d.passed = st.stage, st.stage
		return true
	case r.code/100 < 4:
		t.lost(st, refusedBDAT(r))
		return true
	}
	return t.unchunked(r)
}

func refusedBDAT(r reply) error {
	return fmt.Errorf("%w: it answered BDAT with %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text()))
}

// unchunked reports that the reply to a chunk refuses BDAT itself. The message goes
// with DATA then. The relay may have taken the content for commands, so that no reply
// that follows can be believed; only after 503 it knew what BDAT is.
func (t *transaction) unchunked(r reply) bool {
	switch r.code {
	case 500, 501, 502, 503, 504:
	default:
		return false
	}
	t.quirks.found(chunks)
	t.d.byData = true
	t.leave()
	if r.code != 503 {
		t.ends(refusedBDAT(r))
	}
	return true
}

// atOnce reports that the whole transaction is sent without waiting for any reply. If the
// session breaks then, nobody can tell what of it was executed. So that is not done with
// the first message in the air, which finds out whether the session is still there. What
// is large waits too, so that it is not sent in vain.
func (t *transaction) atOnce() bool {
	return t.behind && t.chunks && t.proven && t.pipelines() && t.d.m.Size <= blockSize && len(t.d.to) < groupSize
}

// whole sends a transaction in one write, and reads the replies to it.
func (t *transaction) whole(src io.Reader) {
	t.d.restart()
	steps := t.d.steps(!t.reads, true)
	all, ok := t.d.collect(t.lines(steps), src)
	t.out = all[:0]
	if !ok {
		t.d.byData, t.again = true, onNewSession // nothing was sent
		return
	}
	if err := t.d.permit(); err != nil {
		t.d.settle(localOutcome(mail.Requeued, "", err))
		return
	}
	if t.botched.Load() { // while permit waited
		t.leave()
		return
	}
	if !t.send(all, len(steps)+1) {
		return
	}
	t.needsReset = true
	for _, st := range steps {
		r, err := t.read(t.timeouts.of(st.stage))
		if err == nil {
			t.due--
		}
		if t.hear(st, r, err); t.over {
			t.suspect(steps, st)
			return
		}
	}
	t.d.refusedAtRcpt(t.session, len(t.accepted))
	t.final()
	t.suspect(steps, step{stage: mail.StageDot})
}

// collect adds the message to the commands before it. It reports false if BDAT does not
// suit the message, or it cannot be read.
func (d *delivery) collect(buf []byte, src io.Reader) ([]byte, bool) {
	w := dotWriter{buf: appendBDAT(buf, d.m.Size, " LAST"), bare: true}
	begin := len(w.buf)
	_, err := io.Copy(&w, io.LimitReader(src, d.m.Size+1))
	all := w.end()
	return all, err == nil && w.n == d.m.Size && w.out == w.n && !recipientLine.Match(all[begin:])
}

// recipientLine is a line of a message that reads as the command RCPT. Some relays (go-smtp
// before 0.25) do not discard a message that comes behind recipients which they have refused,
// and take its lines for commands. Without that one they can send nothing to anybody.
var recipientLine = regexp.MustCompile(`(?im)^\s*rcpt\b`)

// send sends a whole transaction and waits for the read turn. It reports false if the
// transaction is over.
func (t *transaction) send(all []byte, due int) bool {
	err := t.write(all, min(t.timeouts.Data, patience))
	switch {
	case err == nil:
		t.sent = true
		t.pool.pass(t.flight, due)
	case errors.Is(err, os.ErrDeadlineExceeded) && t.d.ctx.Err() == nil:
		t.leave()
		return false
	}
	if !t.await() {
		return false
	}
	if err != nil {
		t.lost(step{stage: mail.StageMail}, err)
	}
	return err == nil
}

// overruled handles a relay that accepts a message although it has refused MAIL, or
// something else after which we want nothing sent. It is not known to whom.
func (t *transaction) overruled(r reply) {
	switch {
	case r.code == 421:
		t.ends(errFarewell)
	case r.positive() && (t.taken || len(t.accepted) > 0):
		t.quirks.found(chunks)
		t.retire()
		t.again = never
		t.d.restart()
		t.d.settle(replyOutcome(mail.Uncertain, mail.StageDot, r, errOverruled))
	}
}

// errOverruled: the relay accepted what it had refused.
var errOverruled = fmt.Errorf("%w: it accepted a message after it had refused to", errOutOfStep)
