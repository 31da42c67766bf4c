package smtp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/postrider/postrider/mail"
)

// stageReset is RSET before the MAIL of a group.
const stageReset mail.Stage = "reset"

// errFarewell: the relay said that it closes the session. It does not execute what comes
// behind (RFC 5321 section 3.8).
var errFarewell = errors.New("the relay closed the session")

// await waits for the read turn, and passes over the replies that nobody before it waited
// for. It reports false if the transaction is over: its context or the session ended.
func (t *transaction) await() bool {
	if t.reads {
		return true
	}
	var late <-chan time.Time
	if t.behind && !t.sent {
		late = time.After(patience)
	}
	select {
	case <-t.turn:
	case <-late:
		t.leave()
		return false
	case <-t.d.ctx.Done():
		t.lost(step{stage: mail.StageMail}, context.Cause(t.d.ctx))
		return false
	}
	t.reads, t.mark = true, time.Now()
	for ; t.skip > 0 && t.end == nil; t.skip-- {
		r, err := t.read(t.timeouts.Dot)
		switch {
		case err != nil && t.d.ctx.Err() != nil:
			t.lost(step{stage: mail.StageMail}, err)
			return false
		case err != nil:
			t.breaks(step{stage: mail.StageDot}, err)
		case r.code == 421:
			t.ends(errFarewell)
		}
	}
	switch {
	case t.end == nil && t.dismissed && !t.sent:
		t.leave()
		return false
	case t.end == nil:
		return true
	}
	// What was not sent to its end, or comes behind a farewell, was not executed.
	if t.over, t.again = true, onNewSession; t.sent && !errors.Is(t.end, errFarewell) {
		t.again = never
		t.conclude(judge(answer{stage: mail.StageDot}), step{stage: mail.StageDot}, reply{}, t.end)
	}
	return false
}

// ready checks that the relay is still there and has no transaction open. RSET
// does both; after a delivered message it would only cost a round trip.
//
// What an idle relay has said meanwhile is no reply to the next command.
func (t *transaction) ready() bool {
	err := t.check()
	if err != nil {
		t.lost(step{stage: mail.StageMail}, err)
	}
	return err == nil
}

func (f *flight) check() error {
	if f.pooled && time.Since(f.idleSince) >= listenAfter {
		if err := f.listen(listenFor); err != nil {
			return err
		}
	}
	if !f.needsReset && (!f.pooled || time.Since(f.idleSince) < probeAfter) {
		return nil
	}
	r, err := f.ask("RSET", resetTimeout)
	if err != nil {
		return err
	}
	if !r.positive() {
		return fmt.Errorf("%w: it answered RSET with %s", errOutOfStep, sayReply(r.code, r.enhanced, r.text()))
	}
	return nil
}

// write sends b, or the part of it that goes out before the context ends.
func (f *flight) write(b []byte, within time.Duration) error {
	if f.reads && f.unasked() {
		return errUnasked
	}
	if err := f.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if f.ctx.Err() != nil { // from now on an end of it interrupts the write
		return context.Cause(f.ctx)
	}
	_, err := f.conn.Write(b)
	return err
}

// read reads one reply. After the end of the context it reads only what has come before.
func (f *flight) read(within time.Duration) (reply, error) {
	f.expect(within)
	if f.ctx.Err() != nil { // from now on an end of it interrupts the read
		_ = f.conn.SetReadDeadline(past)
	}
	r, err := readReply(f.r, f.echoes)
	switch {
	case errors.Is(err, errOutOfStep) && f.ctx.Err() != nil:
		f.ends(err) // nobody waits for this one, but those behind must not read on
	case err != nil && f.ctx.Err() != nil:
		err = context.Cause(f.ctx)
	}
	f.heard = f.heard || f.reads && err == nil && f.skip == 0
	return r, err
}

// ask sends one command and reads its reply.
func (f *flight) ask(command string, within time.Duration) (reply, error) {
	f.out = append(append(f.out[:0], command...), "\r\n"...)
	if err := f.write(f.out, within); err != nil {
		return reply{}, err
	}
	return f.read(within)
}

// leave gives up waiting for a relay that does not read, or does not reply to those before.
func (t *transaction) leave() {
	t.retire()
	t.again = onNewSession
}

// retire ends the transaction, and has no other one begin on the session.
func (f *flight) retire() {
	f.botched.Store(true)
	f.over = true
}

// ends does so because no reply can be read any more, for a reason that concerns those
// behind it too.
func (f *flight) ends(err error) {
	f.retire()
	if f.end == nil {
		f.end = err
	}
}

// fails ends the transaction, whose outcomes are settled, for want of a reply.
func (t *transaction) fails(st step, err error) {
	if t.d.ctx.Err() != nil {
		t.retire()
		return
	}
	t.unanswered = true
	t.breaks(st, err)
}

// farewell reports that the relay hung up after it had asked for something else than this
// session, and before it answered any of this transaction.
func (f *flight) farewell(err error) bool {
	return f.dismissed && !f.heard && hungUp(err) && f.ctx.Err() == nil
}

// hungUp reports an error that is neither silence nor a reply that does not fit.
func hungUp(err error) bool {
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, errOutOfStep)
}

// breaks does so because a reply did not come, or did not fit.
func (f *flight) breaks(st step, err error) {
	if f.end == nil && (f.sent || st.stage == mail.StageData || st.stage == mail.StageBody) {
		f.pool.broke()
	}
	f.ends(err)
}
