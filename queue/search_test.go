package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/natstest"
)

// fill publishes mails of about 2 KB, each with a Message-ID of its own.
func (b *testQueue) fill(tb testing.TB, mails int) {
	tb.Helper()
	js, text := b.broker.Conn.JS(), strings.Repeat("x", 1900)
	for n := range mails {
		body := fmt.Appendf(nil, `{"id":"order-%d","from":"a@example.com","to":["b@example.net"],"headers":{"Message-ID":["<%d@own.test>"]},"text":%q}`, n, n, text)
		if _, err := js.PublishAsync(lane.SendSubject(), body); err != nil {
			tb.Fatal(err)
		}
		if n%1000 < 999 && n < mails-1 {
			continue
		}
		select {
		case <-js.PublishAsyncComplete():
		case <-natstest.Within(tb).Done():
			tb.Fatal("the mails are not stored")
		}
	}
}

// TestShowAmongMany: a mail that no worker has touched is found by its id and by its
// Message-ID with few requests, however many wait before it.
func TestShowAmongMany(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t)
	const mails = 3000
	b.fill(t, mails)
	for _, name := range []string{"order-0", "order-2999", "<2999@own.test>"} {
		before := b.broker.Conn.NC().Stats().OutMsgs
		found, err := b.Traces(t.Context(), name, nil)
		b.must(err)
		if len(found.Messages) != 1 {
			t.Errorf("%s: %d found", name, len(found.Messages))
		}
		if asked := b.broker.Conn.NC().Stats().OutMsgs - before; asked > mails/10 {
			t.Errorf("%s: %d requests for %d mails", name, asked, mails)
		}
	}
}

// BenchmarkShow finds the last of 10,000 mails of 2 KB.
func BenchmarkShow(b *testing.B) {
	q := newTestQueue(b)
	q.fill(b, 10000)
	for name, id := range map[string]string{"id": "order-9999", "Message-ID": "<9999@own.test>"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if found, err := q.Traces(b.Context(), id, nil); err != nil || len(found.Messages) != 1 {
					b.Fatal(found, err)
				}
			}
		})
	}
}
