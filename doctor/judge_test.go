package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/wire"
)

// TestJudge is for what cannot be made in a moment: old servers, full disks, clocks.
func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const gib = 1 << 30
	state := func(change func(*jetstream.ConsumerInfo)) taken {
		fresh := lane.Sources()[0]
		info := &jetstream.ConsumerInfo{Stream: fresh.Stream, Name: fresh.Consumer}
		change(info)
		return taken{ConsumerState: broker.ConsumerState{State: broker.State{Name: "c"}, Source: fresh, Info: info}, do: queue.StartWorker}
	}
	handed := func(since time.Duration) func(*jetstream.ConsumerInfo) {
		return func(i *jetstream.ConsumerInfo) {
			at := ago(since)
			i.NumAckPending, i.Delivered.Last = 3, &at
		}
	}
	nothing := func(*jetstream.ConsumerInfo) {}
	due := func(c taken) taken { c.Source = lane.Sources()[1]; return c }
	settles := func(c taken) taken { c.settled = true; return c }
	source := func(active time.Duration, lag uint64, err *jetstream.APIError) Finding {
		return judgeLog(&jetstream.StreamInfo{Created: ago(2 * time.Minute), Sources: []*jetstream.StreamSourceInfo{{Name: wire.StreamRecord, Active: active, Lag: lag, Error: err}}}, now)
	}
	cert := func(left time.Duration) Finding {
		all := judgeRelay(&smtp.Checkup{Relay: "r:25", TLS: "TLS 1.3", Expires: now.Add(left)}, nil, now)
		return all[len(all)-1]
	}
	replica := func(r jetstream.PeerInfo) Finding {
		s := broker.StreamState{State: broker.State{Name: "S"}, Info: &jetstream.StreamInfo{
			Config: jetstream.StreamConfig{Replicas: 3}, Cluster: &jetstream.ClusterInfo{Leader: "a", Replicas: []*jetstream.PeerInfo{&r}},
		}}
		return judgeReplicas(&broker.Examination{Streams: []broker.StreamState{s}})[0]
	}
	for _, c := range []struct {
		name  string
		got   Finding
		level Level
		says  string
	}{
		{"old server", judgeServer(&broker.Examination{Old: errors.New("too old")})[0], Problem, "too old"},
		{"silent about accounts", judgeProducers(&broker.Examination{})[0], Note, "does not say"},

		{"room", judgeStore(broker.Usage{Stored: gib, Limit: 4 * gib}), OK, "1.0 GiB of 4.0 GiB"},
		{"room all promised", judgeStore(broker.Usage{Reserved: 9 * gib, Limit: 10 * gib}), Warning, "9.0 GiB are promised"},

		{"disk", judgeDisk(broker.Usage{Dir: "d", Limit: gib, Free: 2 * gib}), OK, "2.0 GiB are free"},
		{"disk used by others", judgeDisk(broker.Usage{Dir: "d", Stored: gib, Limit: 4 * gib, Free: 2 * gib}), Warning, "less than the 3.0 GiB"},
		{"disk full", judgeDisk(broker.Usage{Dir: "d", Limit: gib, Free: 1 << 20}), Problem, "1.0 MiB are free: mail cannot be stored"},

		{"clock", judgeClock(-time.Second, time.Millisecond), OK, "1s apart"},
		{"clock behind", judgeClock(-time.Minute, time.Millisecond), Warning, "the broker's clock is 1m0s behind"},
		{"clock ahead", judgeClock(time.Minute, time.Millisecond), Warning, "1m0s ahead of"},
		{"clock, slow answer", judgeClock(4*time.Second, 3*time.Second), OK, "4s apart"},

		{"schedules", judgeSchedules("s", []time.Time{now.Add(time.Hour), ago(time.Second)}, now), OK, ""},
		{"schedules stand still", judgeSchedules("s", []time.Time{ago(time.Hour), now}, now), Problem, "1 schedule should have become due by now, of 2"},

		{"log", source(time.Second, 10, nil), OK, "follows"},
		{"log silent", source(5*time.Minute, 0, nil), Warning, "nothing of MAIL_RECORD for 5m0s"},
		{"log never heard", source(-1, 0, nil), Warning, "for 2m0s"},
		{"log late", source(time.Second, 5000, nil), Warning, "5000 records behind"},
		{"log refused", source(time.Second, 0, &jetstream.APIError{Description: "no such stream"}), Warning, "no such stream"},

		{"taken, busy", judgeTaken(state(handed(time.Second)), 0, now), OK, ""},
		{"taken, and no worker since", judgeTaken(state(handed(time.Hour)), 0, now), Problem, "no worker asks"},
		{"taken, slow but settling", judgeTaken(settles(state(handed(time.Hour))), 0, now), OK, ""},
		{"settled and then stopped", judgeTaken(settles(state(nothing)), 0, now), Problem, "no worker asks"},
		{"not taken at 75 %", judgeTaken(state(nothing), 0.8, now), Warning, "the store is filling up"},
		{"due mail at 75 %", judgeTaken(due(state(nothing)), 0.8, now), Problem, "no worker asks"},

		{"replica behind", replica(jetstream.PeerInfo{Name: "b"}), Warning, "the replica on b is behind"},
		{"replicas", replica(jetstream.PeerInfo{Name: "b", Current: true}), OK, ""},

		{"certificate", cert(15 * 24 * time.Hour), OK, "TLS 1.3"},
		{"certificate ends", cert(13*24*time.Hour + time.Hour), Warning, "expires in 13 days"},
		{"crowded", judgeRelay(nil, crowded(t), now)[0], Warning, "too many"},
		{"setting", judgeRelay(nil, errors.New("SMTP_URL: no"), now)[0], Problem, "SMTP_URL: no"},

		{"no lanes", judgeLanes(&broker.Examination{}, nil)[0], Problem, "no lane"},
	} {
		if c.got.Level != c.level || !strings.Contains(c.got.Found, c.says) {
			t.Errorf("%s: %+v, want %s: %s", c.name, c.got, c.level, c.says)
		}
		if (c.level == Problem || c.level == Warning) && c.got.Do == "" {
			t.Errorf("%s: says not what to do: %+v", c.name, c.got)
		}
	}
}

// crowded is the error of a relay that wants fewer sessions.
func crowded(t *testing.T) error {
	t.Helper()
	cfg := smtp.DefaultConfig()
	cfg.URL = smtptest.New(t, smtptest.On("CONNECT", smtptest.Answer{Reply: "421 4.7.0 too many"})).URL()
	_, err := smtp.Check(t.Context(), cfg)
	return err
}

func TestTogether(t *testing.T) {
	t.Parallel()
	got := together([]Finding{
		{Level: Problem, Check: "x", At: "a", Found: "f", Do: "d"},
		{Level: OK, Check: "x", At: "b", Found: "f", Do: "d"},
		{Level: Problem, Check: "x", At: "c", Found: "f", Do: "d"},
		{Level: Problem, Check: "x", At: "d", Found: "g", Do: "d"},
	})
	if len(got) != 3 || got[0].At != "a, c" {
		t.Errorf("%+v", got)
	}
}
