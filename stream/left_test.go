package stream_test

import (
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestLeftIsRemoved: what is removed while a stream is read is not waited for.
func TestLeftIsRemoved(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	const records = 1200 // more than one pull brings
	publishMany(t, b, records, func(int) string { return deadKey.For(1).RecordSubject() })
	began, seen := time.Now(), 0
	for _, err := range b.Conn.Store().Scan(natstest.Within(t), wire.StreamRecord, "mail.record.>", stream.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		if seen++; seen == 1 {
			s, err := b.Conn.JS().Stream(natstest.Within(t), wire.StreamRecord)
			if err == nil {
				err = s.Purge(natstest.Within(t))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if took := time.Since(began); seen == records || took > natstest.Timeout/2 {
		t.Errorf("%d of %d were read in %v", seen, records, took)
	}
}
