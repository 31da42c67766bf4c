package stream_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestKeep: a value is kept until its time is over or it is removed, and other programs
// read it as that of a key-value bucket.
func TestKeep(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	s := b.Conn.Store()
	a, c := (&wire.Worker{ID: "a"}).Subject(), (&wire.Worker{ID: "c"}).Subject()
	kept := func() (values []string) {
		all, err := s.Kept(natstest.Within(t), wire.StreamState, wire.WorkerSubjects)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			values = append(values, m.Subject+" "+string(m.Data))
			if age := b.Conn.Now().Sub(m.Time); m.Sequence == 0 || age < -time.Minute || age > time.Minute {
				t.Errorf("%+v", m)
			}
		}
		slices.Sort(values)
		return values
	}
	is := func(want ...string) {
		t.Helper()
		if got := kept(); !slices.Equal(got, want) {
			t.Errorf("kept %q, want %q", got, want)
		}
	}
	keep := func(subject, value string, ttl time.Duration) {
		t.Helper()
		if err := s.Keep(natstest.Within(t), subject, []byte(value), ttl); err != nil {
			t.Fatal(err)
		}
	}
	is()
	keep(a, "1", time.Second) // prolonged by the next
	keep(a, "2", time.Hour)
	keep(c, "3", time.Second)
	is(a+" 2", c+" 3")
	bucket, err := b.Conn.JS().KeyValue(natstest.Within(t), "POSTRIDER")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := bucket.Get(natstest.Within(t), "worker.a"); err != nil || string(e.Value()) != "2" {
		t.Errorf("as a bucket: %v, %v", e, err)
	}
	testrun.Eventually(t, "the time of one is over", natstest.Timeout, func() bool { return len(kept()) == 1 })
	is(a + " 2")
	if err := s.Drop(natstest.Within(t), a); err != nil {
		t.Fatal(err)
	}
	is()
	if e, err := bucket.Get(natstest.Within(t), "worker.a"); !errors.Is(err, jetstream.ErrKeyNotFound) {
		t.Errorf("as a bucket, removed: %v, %v", e, err)
	}
	if all, err := s.Kept(natstest.Within(t), "NOTHING", ">"); !errors.Is(err, stream.ErrNoStream) {
		t.Errorf("of a stream that is not there: %v, %v", all, err)
	}
}
