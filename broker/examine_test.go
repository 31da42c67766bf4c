package broker_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

// examine gives what Examine found, and the state of each stream and consumer
// that is not as it must be.
func examine(t *testing.T, b *natstest.Broker, lanes ...wire.Lane) (*broker.Examination, map[string]broker.State) {
	t.Helper()
	x, err := broker.Examine(natstest.Within(t), b.Conn, lanes, b.Config)
	if err != nil {
		t.Fatal(err)
	}
	odd := map[string]broker.State{}
	see := func(s broker.State) {
		if s.Err != nil || s.Newer || len(s.Drift) > 0 {
			odd[s.Name] = s
		}
	}
	for _, s := range x.Streams {
		see(s.State)
	}
	for _, q := range x.Consumers {
		see(q.State)
	}
	return x, odd
}

func TestExamineWhatProvisionMade(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	before := setup(t, b.Conn.JS())
	x, odd := examine(t, b)
	if len(odd) != 0 {
		t.Errorf("not as it must be: %v", odd)
	}
	if x.Old != nil || x.Writes != nil || x.Producers != nil || x.Account != "MAIL" || x.Level < 2 {
		t.Errorf("%+v", x)
	}
	if !slices.Equal(x.Lanes, []wire.Lane{bulk, normal}) || len(x.Streams) != 8 || len(x.Consumers) != 4 {
		t.Errorf("lanes %v, %d streams, %d consumers", x.Lanes, len(x.Streams), len(x.Consumers))
	}
	if u := x.Usage; u.Limit == 0 || u.Reserved == 0 || u.Reserved > u.Limit || u.Dir != b.Config.DataDir || u.Free == 0 {
		t.Errorf("usage %+v", u)
	}
	elsewhere := b.Config
	elsewhere.DataDir = t.TempDir()
	if y, err := broker.Examine(natstest.Within(t), b.Conn, nil, elsewhere); err != nil || y.Usage.Dir != "" {
		t.Errorf("the disk of another directory: %+v, %v", y.Usage, err)
	}
	if after := setup(t, b.Conn.JS()); !reflect.DeepEqual(before, after) {
		t.Error("Examine changed something")
	}
}

func TestExamineNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	changed := natstest.ConfigOf(t, js, wire.StreamRecord)
	changed.MaxAge /= 2
	natstest.Update(t, js, changed)
	newer := natstest.ConfigOf(t, js, wire.StreamDead)
	newer.MaxAge /= 2
	newer.Metadata["postrider-version"] = "99"
	natstest.Update(t, js, newer)
	foreign := natstest.ConfigOf(t, js, normal.SendStream())
	foreign.Subjects = append(foreign.Subjects, "orders.*")
	natstest.Update(t, js, foreign)
	if err := js.DeleteStream(natstest.Within(t), normal.LaterStream()); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(natstest.Within(t), jetstream.StreamConfig{Name: "GREEDY", Subjects: []string{"mail.copy.>"}}); err != nil {
		t.Fatal(err)
	}
	q := setup(t, js)["MAIL_SEND_NORMAL/fresh"].(jetstream.ConsumerConfig)
	q.MaxAckPending = 7
	if _, err := js.UpdateConsumer(natstest.Within(t), normal.SendStream(), q); err != nil {
		t.Fatal(err)
	}
	_, odd := examine(t, b, normal, "slow")
	if got := strings.Join(odd[wire.StreamRecord].Drift, "; "); got != "max_age is 7d, must be 14d" {
		t.Errorf("a changed stream: %q", got)
	}
	if s := odd[wire.StreamDead]; !s.Newer || s.Drift != nil {
		t.Errorf("a newer stream: %+v", s)
	}
	if s := odd[normal.SendStream()]; !errors.Is(s.Err, broker.ErrForeign) {
		t.Errorf("a stream with other subjects: %+v", s)
	}
	if s := odd[normal.LaterStream()]; !errors.Is(s.Err, broker.ErrMissing) || !errors.Is(s.Err, broker.ErrForeign) || !strings.Contains(s.Err.Error(), "GREEDY") {
		t.Errorf("a stream whose subjects another one took: %+v", s)
	}
	if s := odd["MAIL_SEND_NORMAL/fresh"]; strings.Join(s.Drift, "; ") != "max_ack_pending is 7, must be 4096" {
		t.Errorf("a changed consumer: %+v", s)
	}
	for _, name := range []string{"MAIL_LATER_NORMAL/due", "MAIL_SEND_SLOW", "MAIL_LATER_SLOW", "MAIL_SEND_SLOW/fresh", "MAIL_LATER_SLOW/due"} {
		if s := odd[name]; !errors.Is(s.Err, broker.ErrMissing) {
			t.Errorf("%s: %+v, want ErrMissing", name, s)
		}
	}
	if len(odd) != 10 {
		t.Errorf("not as it must be: %v", odd)
	}
}
