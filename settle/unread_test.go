package settle_test

import (
	"testing"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
)

// TestCrashLoop: what was delivered 16 times without a record is buried unread.
func TestCrashLoop(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := b.idle()
	b.Publish("m", "ann@example.net")
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop || string(dead[0].Body) != string(h.Body) {
		t.Errorf("dead letters: %+v", dead)
	}
	b.Accepted("m", map[string]int{"ann@example.net": 0})
}

// TestCrashLoopWithARecord: the message was delivered; its worker died 16 times
// before the ack. It must not be dead-lettered.
func TestCrashLoopWithARecord(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	d := &wb.Death{At: "recorded"}
	stop := b.Work(d)
	b.Publish("the id in the body", "ann@example.net")
	b.Eventually("the worker dies", d.IsDead)
	stop()
	w := b.idle()
	h := b.pullFresh(w)
	h.Times = settle.CrashLoop
	if err := w.settle(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	if dead := b.Dead(); len(dead) > 0 || b.Queued() > 0 {
		t.Errorf("dead letters: %+v, %d in the queue", dead, b.Queued())
	}
}
