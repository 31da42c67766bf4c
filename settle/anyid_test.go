package settle_test

import (
	"context"
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
)

// afterwards is a relay after whose first transaction something happens.
type afterwards struct {
	settle.Relay
	then func()
}

func (r *afterwards) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	tx := r.Relay.Deliver(ctx, m)
	if then := r.then; then != nil {
		r.then = nil
		then()
	}
	return tx
}

// TestBuriedBesideAccepted: a message in a crash loop is dead-lettered undecoded, while
// the relay accepts it from an earlier delivery, whose lease has expired by then. The id is
// in the body, which the one must not decode, so the two have the message under two ids.
// Whichever of them records first: who has accepted the mail is not in a dead letter, and
// the other recipient is.
func TestBuriedBesideAccepted(t *testing.T) {
	t.Parallel()
	for where, header := range map[string]nats.Header{
		"no id in the headers":      nil,
		"another id in the headers": {nats.MsgIdHdr: {"another"}},
		"the id in the headers":     {nats.MsgIdHdr: {"m"}},
	} {
		for _, first := range []string{"buried", "buried, not acked", "accepted"} {
			t.Run(first+", "+where, func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.produce(b.Broker.Producer(t), header, []byte(`{"id":"m","from":"a@example.com","to":["ann@example.net","550x9@example.net"],"text":"hi"}`))
				accepted := b.pullFresh(b.idle())
				crash := twin(accepted)
				crash.Times = settle.CrashLoop
				settleIt := func(w *worker, d *settle.Delivery) {
					if err := w.settle(t.Context(), d); err != nil && !errors.Is(err, settle.ErrLeft) && !errors.Is(err, stream.ErrTooLarge) {
						t.Error(err)
					}
				}
				w, burier := b.idle(), b.idle()
				switch first {
				case "accepted":
					settleIt(b.beatenAt(burier, func() { settleIt(w, accepted) }), crash)
				case "buried, not acked": // the burier ends after its record
					burier.DeadLetters = &refusing{burier.DeadLetters, stream.ErrTooLarge}
					fallthrough
				default:
					w.Relay = &afterwards{w.Relay, func() {
						settleIt(burier, crash)
						expire(accepted)
					}}
					settleIt(w, accepted)
				}
				b.Work(nil)
				b.Settled()
				b.Accepted("m", map[string]int{"ann@example.net": 1})
				if dead := b.Dead(); len(dead) != 1 || dead[0].Key.Recipient != "1" {
					t.Errorf("dead letters %+v", dead)
				}
			})
		}
	}
}
