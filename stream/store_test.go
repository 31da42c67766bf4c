package stream_test

import (
	"errors"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestStoreSetNextDelete(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	subject := deadKey.RecordSubject()
	if seq, err := s.Set(natstest.Within(t), atGeneration(subject, 0), subject, 0); err != nil || seq != 1 {
		t.Fatalf("Set expecting none = %d, %v", seq, err)
	}
	if _, err := s.Set(natstest.Within(t), atGeneration(subject, 1), subject, 0); !errors.Is(err, stream.ErrConflict) {
		t.Errorf("Set expecting none where there is one = %v, want ErrConflict", err)
	}
	if seq, err := s.Set(natstest.Within(t), atGeneration(subject, 1), subject, 1); err != nil || seq != 2 {
		t.Errorf("Set expecting 1 = %d, %v", seq, err)
	}
	for _, tt := range []struct {
		seq   uint64
		since time.Time
		want  uint64 // 0: none
	}{
		{0, time.Time{}, 1}, {1, time.Time{}, 1}, {2, time.Time{}, 2}, {3, time.Time{}, 0},
		{0, b.Conn.Now().Add(-time.Hour), 1}, {0, b.Conn.Now().Add(time.Hour), 0},
	} {
		m, err := s.Next(natstest.Within(t), wire.StreamRecord, subject, tt.seq, tt.since)
		if tt.want == 0 && !errors.Is(err, stream.ErrNotFound) || tt.want != 0 && (err != nil || m.Sequence != tt.want) {
			t.Errorf("Next from %d or %v = %v, %v; want %d", tt.seq, tt.since, m, err, tt.want)
		}
	}
	for range 2 { // the second finds it gone
		if err := s.Delete(natstest.Within(t), wire.StreamRecord, 2); err != nil {
			t.Errorf("Delete = %v", err)
		}
	}
	if m, err := s.Last(natstest.Within(t), wire.StreamRecord, subject); err != nil || m.Sequence != 1 {
		t.Errorf("after deleting the last: %v, %v", m, err)
	}
	if err := s.Delete(natstest.Within(t), "NOTHING", 1); err == nil {
		t.Error("deleted from a stream that is not there")
	}
}
