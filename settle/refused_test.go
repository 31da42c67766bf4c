package settle_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

// refusedMail are envelopes of the id order-17 to ann@example.net that are refused.
var refusedMail = map[string]struct {
	header nats.Header
	body   string
}{
	"address": {nil, `{"id":"order-17","from":"you@example.com","to":["ann@example.net "],"subject":"s","tags":["t"],"text":"Hi"}`},
	"field":   {nil, `{"id":"order-17","from":"you@example.com","to":["ann@example.net"],"subject":"s","tags":["t"],"txet":"Hi"}`},
	"relay":   {nil, `{"id":"order-17","from":"you@example.com","to":["ann@example.net"],"subject":"s","tags":["t"],"text":"","relay":"x"}`},
	"header": {
		nats.Header{"Content-Type": {"message/rfc822"}, "Mail-Id": {"order-17"}, "Mail-Tag": {"t"}, "Mail-To": {"ann@example.net"}, "Mail-Sendat": {"x"}},
		"From: you@example.com\nSubject: s\n\nHi\n",
	},
	"message": {
		nats.Header{"Content-Type": {"message/rfc822"}, "Mail-Id": {"order-17"}, "Mail-Tag": {"t"}},
		"From: you@example.com\nTo: ann@example.net, bob@example..net\nSubject: s\n\nHi\n",
	},
}

// TestRefusedIsFound: what is refused is dead-lettered and recorded under the id and
// with the addresses that its producer knows it by.
func TestRefusedIsFound(t *testing.T) {
	t.Parallel()
	for name, m := range refusedMail {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.produce(b.Broker.Producer(t), m.header, []byte(m.body))
			w := b.idle()
			if err := w.settle(t.Context(), b.pullFresh(w)); err != nil {
				t.Fatal(err)
			}
			dead := b.Dead()
			if len(dead) != 1 || dead[0].Key.ID != "order-17" || string(dead[0].Body) != m.body || len(dead[0].Recipients) == 0 || dead[0].Recipients[0].Address != "ann@example.net" {
				t.Fatalf("dead letters: %+v", dead)
			}
			rec := b.record(dead[0].Key)
			if rec == nil || rec.From != "you@example.com" || rec.Subject != "s" || fmt.Sprint(rec.Tags) != "[t]" || rec.Together != wire.StateDead || rec.Error == "" {
				t.Fatalf("record: %+v", rec)
			}
			for _, x := range rec.Recipients {
				if x.State != wire.StateDead || x.Reason != dead[0].Reason {
					t.Errorf("recipient: %+v", x)
				}
			}
		})
	}
}

// TestRefusedOnce: a refused envelope has one dead letter and one id, wherever a worker
// dies, and if it is held to crash workers after that.
func TestRefusedOnce(t *testing.T) {
	t.Parallel()
	for _, times := range []int{1, 2, settle.CrashLoop, settle.CrashLoop + 1} {
		for name, m := range refusedMail {
			t.Run(fmt.Sprint(name, times), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				died := &wb.Death{At: "recorded"}
				stop := b.Work(died)
				b.produce(b.Broker.Producer(t), m.header, []byte(m.body))
				b.Eventually("the worker dies", died.IsDead)
				stop()
				w := b.idle()
				d := b.pullFresh(w)
				d.Times = times
				if err := w.settle(t.Context(), d); err != nil {
					t.Fatal(err)
				}
				if dead := b.Dead(); len(dead) != 1 || dead[0].Key.ID != "order-17" || d.Key().ID != "order-17" {
					t.Errorf("dead letters: %+v", dead)
				}
			})
		}
	}
}

// TestCrashLoopHasTheIDOfItsHeaders: the body must not be read, and need not be.
func TestCrashLoopHasTheIDOfItsHeaders(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Mail-Id": "order-17", "Nats-Msg-Id": "order-17", "X-Id": ""} {
		b := newBench(t)
		b.produce(b.Broker.Producer(t), nats.Header{"Content-Type": {"message/rfc822"}, name: {"order-17"}}, []byte("From: a@example.com\nTo: ann@example.net\n\nHi\n"))
		w := b.idle()
		d := b.pullFresh(w)
		d.Times = settle.CrashLoop
		if err := w.settle(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		dead := b.Dead()
		if len(dead) != 1 || want != "" && dead[0].Key.ID != want || want == "" && dead[0].Key.ID != dead[0].Key.Origin {
			t.Errorf("%s: dead letters: %+v", name, dead)
		}
	}
}
