package smtp

import (
	"context"
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
	w := dotWriter{buf: t.out[:0], flush: func(b []byte) error {
		lost = t.write(b, t.timeouts.Data)
		return lost
	}}
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
	case err != nil:
		t.abandon(localOutcome(mail.Requeued, "", fmt.Errorf("read the message: %w", err)))
		return
	case w.n != t.d.m.Size:
		t.abandon(localOutcome(mail.Failed, "5.6.0", fmt.Errorf("the message has %d bytes instead of %d", w.n, t.d.m.Size)))
		return
	}
	if err := t.permit(); err != nil {
		t.abandon(localOutcome(mail.Requeued, "", err))
		return
	}
	if err := t.write(last, t.timeouts.Data); err != nil {
		// The dot is at the end of a write that failed, so it was not sent.
		t.cutOff(err)
		return
	}
	t.final()
}

// permit asks for the last time whether the message may be sent.
func (t *transaction) permit() error {
	if t.d.ctx.Err() != nil {
		return fmt.Errorf("the transaction was broken off: %w", context.Cause(t.d.ctx))
	}
	if t.d.m.Permit == nil {
		return nil
	}
	if err := t.d.m.Permit(); err != nil {
		return fmt.Errorf("the final dot was withheld: %w", err)
	}
	return nil
}

// final reads the reply to the final dot.
func (t *transaction) final() {
	sent := time.Now()
	t.d.tx.Data = sent.Sub(t.d.asked)
	r, err := t.read(t.timeouts.Dot)
	t.d.tx.Dot = time.Since(sent)
	t.metrics.took(string(mail.StageDot), t.d.tx.Dot)
	if err != nil {
		t.lost(step{stage: mail.StageDot}, err)
		return
	}
	v := t.judge(t.answer(mail.StageDot, r))
	t.conclude(v, step{stage: mail.StageDot}, r, nil)
	t.needsReset = v.class != mail.Delivered
	if v.class == mail.Delivered {
		t.accepts()
		t.d.accepted, t.d.passed = true, mail.StageDot
		t.heard()
	}
}

// abandon ends the transaction by closing the session. There is no other way to
// leave a body without its dot.
func (t *transaction) abandon(o mail.Outcome) {
	t.botched, t.over = true, true
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
	t.conclude(t.judge(t.answer(mail.StageBody, r)), step{stage: mail.StageBody}, r, nil)
}

// loneDot ends a DATA that the relay accepted although it accepted no recipient,
// and so waits for a dot (RFC 2920 section 3.1).
func (t *transaction) loneDot() {
	r, err := t.ask(".", t.timeouts.Dot)
	if err != nil || r.code == 421 {
		t.botched = true
	}
}
