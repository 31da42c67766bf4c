package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/postrider/postrider/mail"
)

const (
	// lastWords is how long to wait for the reply of a relay that stops reading.
	lastWords = 5 * time.Second
	// listenFor is how long to listen before the end of a body of many blocks.
	listenFor = time.Millisecond
)

// body sends the message and reads the reply to the final dot. Everything up to
// the last block is sent at once. The last block ends in the final dot, and is
// sent only after Permit has agreed.
//
// A relay that replies before the dot has decided without the message. That
// reply must not be taken for the reply to the dot, or every later reply of the
// session would be read for the wrong command. A body that fits in one write
// leaves no time for that.
func (t *transaction) body(src io.Reader) {
	var lost error
	w := dotWriter{buf: t.out[:0], bare: t.chunks, size: t.d.m.Size}
	if t.chunks {
		w.n, w.out = int64(len(t.first)), int64(len(t.first))
		w.buf = appendBDAT(w.buf, t.d.m.Size-w.n, " LAST")
	}
	w.flush = func(b []byte) error {
		if w.bare && w.out > w.size {
			return errResized
		}
		lost = t.write(b, t.timeouts.Data)
		return lost
	}
	if t.chunks {
		_, _ = io.CopyN(io.Discard, src, w.n) // it was sent
	}
	_, err := io.Copy(&w, src)
	last := w.end()
	t.out = last[:0]
	if err == nil && w.n > blockSize {
		lost = t.listen(listenFor)
	}
	switch {
	case lost != nil:
		t.cutOff(lost)
		return
	case errors.Is(err, errResized), err == nil && w.n == t.d.m.Size && t.chunks && w.out != w.n:
		t.d.byData = true
		t.leave()
		return
	case err != nil:
		t.abandon(localOutcome(mail.Requeued, "", fmt.Errorf("read the message: %w", err)))
		return
	case w.n != t.d.m.Size:
		t.abandon(localOutcome(mail.Failed, "5.6.0", fmt.Errorf("the message has %d bytes instead of %d", w.n, t.d.m.Size)))
		return
	}
	if err := t.d.permit(); err != nil {
		t.abandon(localOutcome(mail.Requeued, "", err))
		return
	}
	if err := t.write(last, t.timeouts.Data); err != nil {
		// The last byte of a write that failed was not sent.
		t.cutOff(err)
		return
	}
	t.sent = true
	t.pool.pass(t.flight, 1)
	t.final()
}

// permit asks for the last time whether the message may be sent.
func (d *delivery) permit() error {
	if d.ctx.Err() != nil {
		return fmt.Errorf("the transaction was broken off: %w", context.Cause(d.ctx))
	}
	if d.m.Permit == nil {
		return nil
	}
	if err := d.m.Permit(); err != nil {
		return fmt.Errorf("the final dot was withheld: %w", err)
	}
	return nil
}

// final reads the reply to the final dot.
func (t *transaction) final() {
	sent := time.Now()
	t.d.tx.Data = sent.Sub(t.d.asked)
	r, err := t.read(t.timeouts.Dot)
	if err == nil {
		t.due--
	}
	t.d.tx.Dot = time.Since(sent)
	t.metrics.took(string(mail.StageDot), t.d.tx.Dot)
	if err == nil && t.stray(mail.StageDot, r) {
		err = errStray
	}
	settled := t.refused || len(t.accepted) == 0
	switch {
	case err != nil && settled:
		t.fails(step{stage: mail.StageDot}, err)
		return
	case err != nil:
		t.lost(step{stage: mail.StageDot}, err)
		return
	case settled:
		t.overruled(r)
		return
	case t.chunks && t.unchunked(r):
		return
	}
	v := t.d.judge(t.answer(mail.StageDot, r))
	t.conclude(v, step{stage: mail.StageDot}, r, nil)
	t.needsReset = v.class != mail.Delivered
	if v.class == mail.Delivered {
		t.accepts()
		if t.behind {
			t.quirks.trust(groups)
		}
		t.d.accepted, t.d.passed = true, mail.StageDot
		t.pool.hear()
		t.pool.accepted(t.flight)
	}
}

// abandon ends the transaction by closing the session. There is no other way to
// leave a body without its dot.
func (t *transaction) abandon(o mail.Outcome) {
	t.retire()
	t.d.settle(o)
}

// cutOff ends a transaction whose body could not be written to its end. The
// relay may have said why before it stopped reading.
func (t *transaction) cutOff(lost error) {
	r, err := t.read(min(lastWords, t.timeouts.Dot))
	if err != nil {
		t.lost(step{stage: mail.StageBody}, lost)
		return
	}
	t.conclude(t.d.judge(t.answer(mail.StageBody, r)), step{stage: mail.StageBody}, r, nil)
}
