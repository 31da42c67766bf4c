package queue_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// bars counts what is shown of progress.
type bars struct {
	what        []string
	total       int64
	steps, ends int
}

func (x *bars) watch(total int64, what string) queue.Bar {
	x.what, x.total = append(x.what, what), total
	return x
}

func (x *bars) Step() { x.steps++ }
func (x *bars) End()  { x.ends++ }

// traced is "id state; " for each recipient of what is found.
func (b *testQueue) traced(name string) (got string) {
	b.t.Helper()
	found, err := b.Traces(b.t.Context(), name, nil)
	b.must(err)
	for _, m := range found.Messages {
		for _, f := range m.Recipients {
			verb, _, _ := strings.Cut(f.Is, " ")
			got += fmt.Sprintf("%s %s; ", m.ID, strings.TrimRight(verb, ":;,"))
		}
	}
	return got
}

// TestTraces finds a message by each of its names, wherever it is.
func TestTraces(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	first := b.publish(lane, "", envelope("twice"))
	b.publish(lane, "", envelope("twice"))
	b.publish(lane, "", envelope("waits"))
	b.record("sent", wire.EventDelivered)
	b.bury("dead", mail.ReasonFailed)
	b.later("scheduled", time.Now().Add(time.Hour))
	fresh, err := b.Fresh(t.Context(), lane, first)
	b.must(err)
	for name, want := range map[string]string{
		"twice":                           "twice waits; twice waits; ",
		fresh.Key.Origin:                  "twice waits; ",
		fmt.Sprintf("%s/%d", lane, first): "twice waits; ",
		"waits":                           "waits waits; ",
		"sent":                            "sent delivered; ",
		"dead":                            "dead dead; ",
		"scheduled":                       "scheduled waits; ",
		"nosuch":                          "",
		"normal/99":                       "",
		"nolane/1":                        "",
		"normal/9999999999999999999":      "",
	} {
		if got := b.traced(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	found, err := b.Traces(t.Context(), "twice", nil)
	b.must(err)
	if m := found.Messages; m[0].Enqueued.Before(m[1].Enqueued) || m[1].Origin != fresh.Key.Origin || m[0].From != "a@example.com" {
		t.Errorf("the newest is not the first: %+v, %+v", m[0], m[1])
	}
}

// TestTraceOfSettled: lane/sequence finds a message that is settled by the log.
func TestTraceOfSettled(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	b.record("sent", wire.EventDelivered) // its origin ends with -7
	x := &bars{}
	testrun.Eventually(t, "the log has the record", natstest.Timeout, func() bool {
		found, err := b.Traces(natstest.Within(t), "normal/7", x.watch)
		b.must(err)
		return len(found.Messages) == 1 && found.Messages[0].ID == "sent" && len(found.Messages[0].Events) == 1
	})
	if x.what[0] != "reading the log of lane normal" || x.ends != len(x.what) {
		t.Errorf("%+v", x)
	}
}

// TestUnsearched: if an id was found and much waits, that is not read for another
// message of the id; if it was not found, everything is.
func TestUnsearched(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	const many = 2001
	for i := range many {
		_, err := b.broker.Conn.JS().PublishAsync(lane.SendSubject(), []byte(envelope(fmt.Sprintf("m%d", i))))
		b.must(err)
	}
	select {
	case <-b.broker.Conn.JS().PublishAsyncComplete():
	case <-natstest.Within(t).Done():
		t.Fatal("not published")
	}
	b.record("m7", wire.EventDelivered)
	found, err := b.Traces(t.Context(), "m7", nil)
	b.must(err)
	if len(found.Messages) != 1 || found.Unsearched != many {
		t.Errorf("%d messages, %d unsearched", len(found.Messages), found.Unsearched)
	}
	x := &bars{}
	found, err = b.Traces(t.Context(), "m8", x.watch)
	b.must(err)
	if len(found.Messages) != 1 || found.Unsearched != 0 || x.total != many || x.steps != many || x.ends != 1 {
		t.Errorf("%d messages, %d unsearched, %+v", len(found.Messages), found.Unsearched, x)
	}
}

// TestSettledMeanwhile: a mail that is settled while it is looked for, after its record was
// and before its lane is, is found.
func TestSettledMeanwhile(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	b.publish(lane, "", envelope("waits"))
	settled := false
	found, err := b.Traces(t.Context(), "fast", func(total int64, what string) queue.Bar {
		if !settled {
			b.record("fast", wire.EventDelivered)
			settled = true
		}
		return (&bars{}).watch(total, what)
	})
	b.must(err)
	if len(found.Messages) != 1 || found.Messages[0].ID != "fast" {
		t.Errorf("found %+v", found)
	}
}
