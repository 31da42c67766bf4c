package journal_test

import (
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/schema"
)

// TestFindAcrossClocks: the enqueue time is by the clock of the lane's leader,
// the time of the entry in the log by that of another server. One that is a
// second behind must not hide the record.
func TestFindAcrossClocks(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	j := journal.New(b.Conn.Store())
	at := time.Now().Add(time.Second) // the lane's leader is ahead
	l := schema.Line{Lane: "normal", ID: "m", Origin: schema.Origin(at, 1), Rcpt: schema.All}
	rec := &schema.Record{V: 1, ID: l.ID, Origin: l.Origin, Lane: l.Lane, Line: l.Rcpt, Event: schema.EventDelivered, At: at, Enqueued: at,
		Recipients: []schema.RecipientRecord{{Address: "a@example.net", State: schema.StateDelivered}}}
	if _, err := j.Set(t.Context(), rec, 0, true); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// By a start that lies before, the entry is there.
		found, err := j.Find(t.Context(), l, 0, at.Add(-time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if found != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no entry in the log")
		}
	}
	found, err := j.Find(t.Context(), l, 0, at)
	if err != nil || found == nil {
		t.Errorf("find: %v, %v; the entry is in the log, and the mail would be sent again", found, err)
	}
}
