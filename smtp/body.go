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

// body sends the message and takes in what the relay makes of it. Everything up
// to its last block can go out unasked; the last block, which ends in the final
// dot, only once Permit has said yes.
//
// A relay that replies before the dot has made up its mind without the message:
// that reply must not be taken for the one to the dot, which would then stand in
// the way of the next message. A body that fits in one write leaves no time for it.
func (t *transaction) body(src io.Reader, begin time.Time) {
	var lost error
	w := dotWriter{buf: t.out[:0], flush: func(b []byte) error {
		lost = t.write(b, t.timeouts.Block)
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
	if err := t.write(last, t.timeouts.Block); err != nil {
		// The dot is the end of a write that failed, so it was not sent.
		t.cutOff(err)
		return
	}
	t.final(begin)
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
func (t *transaction) final(begin time.Time) {
	sent := time.Now()
	t.d.tx.Data = sent.Sub(begin)
	r, err := t.read(t.timeouts.Dot)
	t.d.tx.Dot = time.Since(sent)
	t.metrics.took(string(mail.StageDot), t.d.tx.Dot)
	if err != nil {
		t.lost(step{stage: mail.StageDot}, err)
		return
	}
	v := judge(answer{stage: mail.StageDot, reply: r, trusted: t.trusted})
	t.conclude(v, step{stage: mail.StageDot}, r, nil)
	t.needsReset = v.class != mail.Delivered
	t.trusted = t.trusted || v.class == mail.Delivered
}

// abandon ends the transaction by closing the session: there is no other way to
// leave a body without its dot.
func (t *transaction) abandon(o mail.Outcome) {
	t.botched, t.over = true, true
	t.d.settle(o)
}

// cutOff is for a body that could not be written to its end. The relay may have
// said why before it stopped reading.
func (t *transaction) cutOff(lost error) {
	r, err := t.read(min(lastWords, t.timeouts.Dot))
	if err != nil {
		t.lost(step{stage: mail.StageBody}, lost)
		return
	}
	t.conclude(judge(answer{stage: mail.StageBody, reply: r, trusted: t.trusted}), step{stage: mail.StageBody}, r, nil)
}

// loneDot ends a DATA that the relay took although it took no recipient
// (RFC 2920 section 3.1).
func (t *transaction) loneDot() {
	r, err := t.ask(".", t.timeouts.Dot)
	if err != nil || r.code == 421 {
		t.botched = true
	}
}
