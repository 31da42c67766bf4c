package settle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestParking: copies that count no attempt do not replace each other.
func TestParking(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, 10*time.Millisecond
	b.Work(nil)
	b.Publish("m", "421x30@example.net")
	b.Settled()
	b.Accepted("m", map[string]int{"421x30@example.net": 1})
	rec := b.record(b.keyOf("m"))
	if rec.Counted != 1 || rec.Generation < 3 || len(b.Dead()) > 0 {
		t.Errorf("%d counted, generation %d, dead %v", rec.Counted, rec.Generation, b.Dead())
	}
}

// TestHangUpsAreScheduled: mail at whose recipient the relay closes the session is
// scheduled at once. Given back to the broker, it would count against what its lane
// may have in flight.
func TestHangUpsAreScheduled(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = 100*time.Millisecond, time.Hour
	b.workWith(closesAt())
	for i := range 20 {
		b.Publish(fmt.Sprintf("m-%d", i), "hang@example.net")
	}
	b.Eventually("all wait as schedules", func() bool {
		c, err := b.Conn.JS().Consumer(t.Context(), lane.SendStream(), wire.ConsumerFresh)
		if err != nil {
			t.Fatal(err)
		}
		i := c.CachedInfo()
		return i.NumAckPending == 0 && i.NumPending == 0 && i.Delivered.Consumer < 2*20
	})
}

// outOfStep is a relay that answers MAIL with 503 the first n times.
func outOfStep(n int64) smtptest.Option {
	var asked atomic.Int64
	return smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "MAIL" && asked.Add(1) <= n {
			return &smtptest.Answer{Reply: "503 5.5.1 Need MAIL before RCPT"}
		}
		return nil
	})
}

// logged are the records of the message that the log has, as people read them.
func (b *bench) logged(id string) (lines []string) {
	b.T.Helper()
	for r, err := range journal.NewLog(b.Conn.JS()).Search(b.T.Context(), journal.Filter{ID: id}) {
		if err != nil {
			b.T.Fatal(err)
		}
		for _, l := range queue.LogLines(r, "", "") {
			lines = append(lines, string(l.Event)+" "+r.ID+" "+l.Text())
		}
	}
	return lines
}

// TestFirstRequeueIsRecorded: the first requeue has an entry in the log with what the
// relay said, and the next ones have none. The mail is delivered in the end, and its
// record outlives that of the requeue.
func TestFirstRequeueIsRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	const fails = 5
	server := b.workWith(outOfStep(fails))
	b.Publish("m1", "ann@example.net")
	const words = "requeued m1 ann@example.net: no attempt counted: 503 5.5.1 "
	b.Eventually("the log has the first requeue", func() bool { return len(b.logged("m1")) > 0 })
	if first := b.logged("m1")[0]; !strings.HasPrefix(first, words) || !strings.HasSuffix(first, "503 5.5.1 Need MAIL before RCPT") {
		t.Errorf("the log says %q, want %s…", first, words)
	}
	b.Settled()
	records, err := journal.New(b.Store).Records(t.Context(), "m1")
	if err != nil || len(records) != 2 {
		t.Fatalf("records: %v, %v; want one of the requeue and one of the delivery", records, err)
	}
	requeued, delivered := records[0], records[1]
	if requeued.Event != wire.EventRequeued || !requeued.Has(wire.StatePending) || requeued.Together != "" || requeued.Counted != 0 || requeued.Delivery != 1 {
		t.Errorf("record of the requeue: %+v", requeued)
	}
	if delivered.Event != wire.EventDelivered || delivered.Generation != 0 || delivered.Counted != 1 {
		t.Errorf("record of the delivery: %+v", delivered)
	}
	for _, r := range records {
		m, err := b.Store.Last(t.Context(), wire.StreamRecord, r.Key().RecordSubject())
		if err != nil || m.Header.Get(jetstream.MsgTTLHeader) != "" {
			t.Errorf("%s expires early: %v, %v", r.Event, m, err)
		}
	}
	if n := len(server.Messages()); n != 1 {
		t.Errorf("the relay has it %d times", n)
	}
}

// faulty is a relay that is at fault the first few times.
type faulty struct {
	settle.Relay
	times *atomic.Int64
	fault mail.Transaction
}

func (r faulty) Deliver(ctx context.Context, m mail.Message) mail.Transaction {
	if r.times.Add(-1) < 0 {
		return r.Relay.Deliver(ctx, m)
	}
	tx := r.fault
	tx.At, tx.Outcomes = time.Now(), nil
	for range m.Recipients {
		tx.Outcomes = append(tx.Outcomes, r.fault.Outcomes[0])
	}
	return tx
}

// before is at fault n times, and then the relay is asked.
func (r faulty) before(next settle.Relay, n int64) settle.Relay {
	r.Relay, r.times = next, new(atomic.Int64)
	r.times.Store(n)
	return r
}

func faultAt(stage mail.Stage, session string, code int) faulty {
	return faulty{fault: mail.Transaction{Relay: "books", Session: session, Use: 1, Outcomes: []mail.Outcome{
		{Class: mail.Requeued, Stage: stage, Code: code, Reply: "what it said"},
	}}}
}

// outOfTurn is the fault of a relay that takes a command for another one.
func outOfTurn() faulty { return faultAt(mail.StageMail, "s1", 503) }

// faultyWorker settles what it is given, at a relay that is at fault n times.
func (b *bench) faultyWorker(f faulty, n int64) *worker {
	b.T.Helper()
	w := b.idle()
	w.Relay = f.before(w.Relay, n)
	return w
}

// TestRequeuesThatAreRecorded: only what the relay itself did or said is worth a record.
func TestRequeuesThatAreRecorded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Hour, time.Hour // nothing comes back
	for name, c := range map[string]struct {
		fault  faulty
		spoil  func(d *settle.Delivery)
		refuse error
		want   int
	}{
		"a reply":               {fault: outOfTurn(), want: 1},
		"a hang-up":             {fault: faultAt(mail.StageMail, "s1", 0), want: 1},
		"a greeting":            {fault: faultAt(mail.StageGreeting, "", 421), want: 1},
		"the worker stops":      {fault: faultAt(mail.StageLocal, "s1", 0)},
		"no session is free":    {fault: faultAt(mail.StageLocal, "", 0)},
		"the relay is down":     {fault: faultAt(mail.StageConnect, "", 0)},
		"the lease has expired": {fault: outOfTurn(), spoil: expire},
		"no room":               {fault: outOfTurn(), refuse: stream.ErrFull},
		"no answer":             {fault: outOfTurn(), refuse: stream.ErrAway},
		"too large":             {fault: outOfTurn(), refuse: stream.ErrTooLarge},
		"the eighth delivery":   {fault: outOfTurn(), spoil: func(d *settle.Delivery) { d.Times = 8 }, want: 1}, // and its copy
	} {
		id := strings.ReplaceAll(name, " ", "-")
		b.Publish(id, "ann@example.net")
		w := b.faultyWorker(c.fault, 1)
		d := b.pullFresh(w)
		if c.spoil != nil {
			c.spoil(d)
		}
		if c.refuse != nil {
			b.Refuse.Set(wb.Times(-1, "record", c.refuse))
		}
		err := w.settle(t.Context(), d)
		b.Refuse.Set(nil)
		if copied := d.Times >= 8; copied != (err == nil) || !copied && !errors.Is(err, settle.ErrLeft) {
			t.Errorf("%s: %v", name, err)
		}
		records, err := journal.New(b.Store).Records(t.Context(), id)
		if err != nil || len(records) != c.want || d.GoesOn != (c.want > 0) {
			t.Errorf("%s: records %v, %v, want %d; goes on: %t", name, records, err, c.want, d.GoesOn)
		}
	}
}

// TestThrottledMailing: of a mailing that the relay puts off again and again, each mail is
// recorded once before it is delivered.
func TestThrottledMailing(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Millisecond, 10*time.Millisecond
	const mails = 500
	for i := range mails {
		b.Publish(fmt.Sprintf("m-%d", i), "ann@example.net")
	}
	w := b.Worker(nil)
	w.Settle.Relay = faultAt(mail.StageMail, "s1", 452).before(w.Settle.Relay, 3*mails)
	b.Run(b.Make(w), nil)
	b.Settled()
	events := map[wire.Event]int{}
	for m, err := range b.Store.Scan(t.Context(), wire.StreamRecord, "mail.record.>", stream.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		r, err := wire.DecodeRecord(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if r.Generation == 0 { // a slow machine may come to the eighth delivery
			events[r.Event]++
		}
	}
	if n := events[wire.EventRequeued]; n == 0 || n > mails {
		t.Errorf("%d mails made %v", mails, events)
	}
	if n := w.Counted(t, "requeued_total"); n < 3*mails {
		t.Errorf("requeued %.0f times only", n)
	}
}

// TestRequeuedBesideAccepted: two workers have one message. The relay accepts it from one,
// whose lease expires meanwhile, and blames itself to the other, which records that.
// Whoever comes second, it is accepted once, and its last record says so.
func TestRequeuedBesideAccepted(t *testing.T) {
	t.Parallel()
	for _, firstIs := range []string{"requeued", "accepted"} {
		t.Run(firstIs, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.Publish("m", "ann@example.net")
			d := b.pullFresh(b.idle())
			accepted, requeued := twin(d), twin(d)
			requeue := func(w *worker) {
				if err := w.settle(t.Context(), requeued); !errors.Is(err, settle.ErrLeft) {
					t.Errorf("got %v", err)
				}
			}
			accept := func(w *worker) {
				if err := w.settle(t.Context(), accepted); err != nil {
					t.Errorf("got %v", err)
				}
			}
			if firstIs == "requeued" {
				accept(b.beatenAt(b.idle(), func() {
					requeue(b.faultyWorker(outOfTurn(), 1))
					expire(accepted)
				}))
			} else {
				requeue(b.beatenAt(b.faultyWorker(outOfTurn(), 1), func() {
					if err := b.diesBeforeAck(accepted); !errors.Is(err, wb.ErrDead) {
						t.Errorf("got %v", err)
					}
				}))
			}
			b.Work(nil)
			b.Settled()
			b.Accepted("m", map[string]int{"ann@example.net": 1})
			if rec := b.record(b.keyOf("m")); rec.Event != wire.EventDelivered || rec.Together != wire.StateDelivered {
				t.Errorf("record %+v", rec)
			}
		})
	}
}

// diesBeforeAck settles a delivery with a worker that dies once it has recorded it.
func (b *bench) diesBeforeAck(d *settle.Delivery) error {
	b.T.Helper()
	w := b.Worker(&wb.Death{At: "recorded"})
	ctx := b.T.Context()
	return b.Settler(w).Settle(settle.Span{Fetch: ctx, Work: ctx, Settle: ctx}, d)
}

// TestCrashLoopAfterRequeue: the record of a requeue restarts the count of a crash loop
// once, so a message that ends its workers after that is buried all the same, under its id
// and with its recipients. It is not buried before.
func TestCrashLoopAfterRequeue(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, c := range []struct {
		times int
		dead  bool
	}{{settle.CrashLoop, false}, {settle.CrashLoop + 2, false}, {settle.CrashLoop + 3, true}} {
		id := fmt.Sprintf("m-%d", c.times)
		b.Publish(id, "ann@example.net")
		w := b.faultyWorker(outOfTurn(), 1)
		d := b.pullFresh(w)
		d.Times = 3
		if err := w.settle(t.Context(), d); !errors.Is(err, settle.ErrLeft) {
			t.Fatalf("got %v", err)
		}
		d = b.pullFresh(w)
		d.Times = c.times
		if err := w.settle(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		accepted := 1
		if c.dead {
			accepted = 0
		}
		b.Accepted(id, map[string]int{"ann@example.net": accepted})
	}
	dead := b.Dead()
	if len(dead) != 1 || dead[0].Reason != mail.ReasonCrashLoop || dead[0].Key.ID != "m-19" || len(dead[0].Recipients) != 1 {
		t.Errorf("dead letters %+v", dead)
	}
}

// TestRequeuesAreLogged: the log has what the relay said, one line in ten seconds for all
// messages, and says how many it left out.
func TestRequeuesAreLogged(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Settle.PauseMin, b.Settle.PauseMax = time.Hour, time.Hour
	for form, c := range map[string]struct {
		handler func(w *bytes.Buffer) slog.Handler
		want    string
	}{
		"text": {func(w *bytes.Buffer) slog.Handler { return slog.NewTextHandler(w, nil) }, `level=INFO msg="message requeued, no attempt counted" id=text-0 lane=normal reply="503 what it said" left_out=0`},
		"json": {func(w *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(w, nil) }, `"level":"INFO","msg":"message requeued, no attempt counted","id":"json-0","lane":"normal","reply":"503 what it said","left_out":0}`},
	} {
		var log bytes.Buffer
		w := b.faultyWorker(outOfTurn(), 3)
		w.Log = slog.New(c.handler(&log))
		for i := range 3 {
			b.Publish(fmt.Sprintf("%s-%d", form, i), "ann@example.net")
			if err := w.settle(t.Context(), b.pullFresh(w)); !errors.Is(err, settle.ErrLeft) {
				t.Fatalf("got %v", err)
			}
		}
		if got := strings.TrimSpace(log.String()); strings.Contains(got, "\n") || !strings.HasSuffix(got, c.want) {
			t.Errorf("%s: %s, want …%s", form, got, c.want)
		}
	}
}

// TestOneRequeueInTenSeconds: what was left out is told with the next line, for which a
// later requeue of a message is enough.
func TestOneRequeueInTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l settle.RequeueLog
		var got []string
		say := func(first bool) {
			level, leftOut := l.Next(first)
			got = append(got, fmt.Sprint(level, leftOut))
		}
		for _, first := range []bool{true, true, false, true} {
			say(first)
		}
		time.Sleep(10 * time.Second)
		say(false)
		time.Sleep(10 * time.Second)
		say(false)
		say(true)
		if want := []string{"INFO 0", "DEBUG 0", "DEBUG 0", "DEBUG 0", "INFO 2", "DEBUG 0", "INFO 0"}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}
