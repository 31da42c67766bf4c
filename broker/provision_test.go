package broker_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// setup is the configuration of every stream and consumer, by name.
func setup(t *testing.T, js jetstream.JetStream) map[string]any {
	t.Helper()
	ctx := natstest.Within(t)
	all := map[string]any{}
	streams := js.ListStreams(ctx)
	for s := range streams.Info() {
		all[s.Config.Name] = s.Config
		h, err := js.Stream(ctx, s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := h.ListConsumers(ctx)
		for q := range consumers.Info() {
			all[s.Config.Name+"/"+q.Name] = q.Config
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestProvisionMakesTheTable(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	got := setup(t, b.Conn.JS())
	names := []string{"MAIL_RECORD", "MAIL_EVENT", "MAIL_DEAD", "KV_POSTRIDER"}
	for _, l := range b.Lanes {
		names = append(names, l.SendStream(), l.LaterStream(), l.SendStream()+"/fresh", l.LaterStream()+"/due")
	}
	for _, n := range names {
		if got[n] == nil {
			t.Errorf("%s is missing", n)
		}
	}
	if len(got) != len(names) {
		t.Errorf("made %d streams and consumers, want %d", len(got), len(names))
	}
	send, later := natstest.ConfigOf(t, b.Conn.JS(), "MAIL_SEND_BULK"), natstest.ConfigOf(t, b.Conn.JS(), "MAIL_LATER_BULK")
	if send.AllowRollup || send.AllowMsgTTL || send.AllowMsgSchedules || send.Discard != jetstream.DiscardNew || send.Duplicates != 10*time.Minute {
		t.Errorf("a producer can do more than add to %+v", send)
	}
	if want := int32(8<<20 - 64<<10); send.MaxMsgSize != want {
		t.Errorf("max message size = %d, want %d", send.MaxMsgSize, want)
	}
	if !later.AllowMsgSchedules || later.MaxAge != 0 || later.MaxBytes != -1 || later.MaxMsgs != -1 || later.MaxMsgsPerSubject != -1 {
		t.Errorf("schedules can be dropped in %+v", later)
	}
	for name, want := range map[string]struct{ atomic, direct bool }{
		"MAIL_SEND_BULK": {true, true}, "MAIL_LATER_BULK": {true, true}, "MAIL_RECORD": {true, true}, "MAIL_EVENT": {true, false},
	} {
		if c := natstest.ConfigOf(t, b.Conn.JS(), name); c.AllowAtomicPublish != want.atomic || c.AllowDirect != want.direct || c.PersistMode != jetstream.DefaultPersistMode {
			t.Errorf("%s has atomic publish %v, direct gets %v, persist mode %v", name, c.AllowAtomicPublish, c.AllowDirect, c.PersistMode)
		}
	}
	q := got["MAIL_SEND_BULK/fresh"].(jetstream.ConsumerConfig)
	if q.AckPolicy != jetstream.AckExplicitPolicy || q.AckWait != 2*time.Minute || q.MaxDeliver != 64 || q.MaxAckPending != 4096 || q.MaxWaiting != 4096 || len(q.BackOff) != 0 {
		t.Errorf("consumer = %+v", q)
	}
}

// TestStateIsABucket: the bucket is as a client of NATS would make it.
func TestStateIsABucket(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	if _, err := js.CreateKeyValue(natstest.Within(t), jetstream.KeyValueConfig{Bucket: "THEIRS", LimitMarkerTTL: time.Minute}); err != nil {
		t.Fatal(err)
	}
	ours, theirs := natstest.ConfigOf(t, js, wire.StreamState), natstest.ConfigOf(t, js, "KV_THEIRS")
	theirs.Name, theirs.Subjects, theirs.Metadata = ours.Name, ours.Subjects, ours.Metadata
	if !reflect.DeepEqual(ours, theirs) {
		t.Errorf("%+v\nis not\n%+v", ours, theirs)
	}
}

func TestProvisionTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	before := setup(t, b.Conn.JS())
	for _, mode := range []string{broker.Apply, broker.Verify} {
		cfg := b.Config
		cfg.Provision = mode
		if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, cfg); err != nil {
			t.Fatalf("%s: %v", mode, err)
		}
		if after := setup(t, b.Conn.JS()); !reflect.DeepEqual(before, after) {
			t.Errorf("%s changed\n%+v\nto\n%+v", mode, before, after)
		}
	}
}

func TestProvisionByManyWorkersAtOnce(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	_, c := natstest.StartEmbedded(t, cfg, normal)
	errs := make(chan error)
	for i := range 4 {
		go func() {
			cfg := cfg
			cfg.AckWait += time.Duration(i) * time.Second
			_, err := broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, cfg)
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestProvisionUpgradesAnOlderVersion(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	want := setup(t, js)
	old := natstest.ConfigOf(t, js, wire.StreamRecord)
	old.MaxAge = time.Hour
	old.Metadata["postrider-version"] = "2"
	natstest.Update(t, js, old)
	q := want["MAIL_SEND_NORMAL/fresh"].(jetstream.ConsumerConfig)
	q.MaxAckPending = 7
	if _, err := js.UpdateConsumer(natstest.Within(t), "MAIL_SEND_NORMAL", q); err != nil {
		t.Fatal(err)
	}
	if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatal(err)
	}
	if got := setup(t, js); !reflect.DeepEqual(got, want) {
		t.Errorf("after the upgrade\n%+v\nwant\n%+v", got, want)
	}
}

func TestProvisionLeavesANewerVersionAlone(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	newer := natstest.ConfigOf(t, js, wire.StreamDead)
	newer.MaxAge = time.Hour
	newer.Metadata["postrider-version"] = "3"
	natstest.Update(t, js, newer)
	q := setup(t, js)["MAIL_LATER_NORMAL/due"].(jetstream.ConsumerConfig)
	q.MaxAckPending = 7
	q.Metadata["postrider-version"] = "3"
	if _, err := js.UpdateConsumer(natstest.Within(t), "MAIL_LATER_NORMAL", q); err != nil {
		t.Fatal(err)
	}
	want := setup(t, js)
	if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatal(err)
	}
	if got := setup(t, js); !reflect.DeepEqual(got, want) {
		t.Errorf("an older worker changed\n%+v\nto\n%+v", want, got)
	}
}

func TestProvisionKeepsWhatIsAnOperators(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	mine := natstest.ConfigOf(t, js, wire.StreamDead)
	mine.Description = "ask the post room first"
	mine.Metadata["team"] = "post room"
	natstest.Update(t, js, mine)
	if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatal(err)
	}
	if got := natstest.ConfigOf(t, js, wire.StreamDead); !reflect.DeepEqual(got, mine) {
		t.Errorf("provisioning changed\n%+v\nto\n%+v", mine, got)
	}
}

// TestNothingIsCompressed: not even a stream that was compressed before.
func TestNothingIsCompressed(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	js := b.Conn.JS()
	for _, name := range []string{wire.StreamEvent, wire.StreamDead, normal.SendStream()} {
		before := natstest.ConfigOf(t, js, name)
		if before.Compression != jetstream.NoCompression {
			t.Errorf("%s is made with compression", name)
		}
		before.Compression = jetstream.S2Compression
		natstest.Update(t, js, before)
		if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
			t.Fatal(err)
		}
		if natstest.ConfigOf(t, js, name).Compression != jetstream.NoCompression {
			t.Errorf("%s stays compressed", name)
		}
	}
}

func TestProvisionRefusesForeignStreams(t *testing.T) {
	t.Parallel()
	version := map[string]string{"postrider-version": "2"}
	tests := map[string]struct {
		cfg  jetstream.StreamConfig
		says string
	}{
		"no metadata": {jetstream.StreamConfig{Name: "MAIL_DEAD", Subjects: []string{"mail.dead.*.*.*.*"}}, "postrider-version"},
		"odd version": {jetstream.StreamConfig{Name: "MAIL_DEAD", Subjects: []string{"mail.dead.*.*.*.*"},
			Metadata: map[string]string{"postrider-version": "one"}}, "postrider-version"},
		"a development build": {jetstream.StreamConfig{Name: "MAIL_DEAD", Subjects: []string{"mail.dead.*.*.*.*"},
			Metadata: map[string]string{"postrider-version": "1"}}, "stream MAIL_DEAD: made by a development build of Postrider, whose mail"},
		"subjects":  {jetstream.StreamConfig{Name: "MAIL_DEAD", Subjects: []string{"orders.*"}, Metadata: version}, "orders.*"},
		"retention": {jetstream.StreamConfig{Name: "MAIL_DEAD", Retention: jetstream.InterestPolicy, Metadata: version}, "retention"},
		"storage":   {jetstream.StreamConfig{Name: "MAIL_DEAD", Storage: jetstream.MemoryStorage, Metadata: version}, "storage"},
		"overlap":   {jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"mail.>"}}, "same subjects"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := natstest.EmbeddedConfig(t)
			_, c := natstest.StartEmbedded(t, cfg, normal)
			if _, err := c.JS().CreateStream(natstest.Within(t), tt.cfg); err != nil {
				t.Fatal(err)
			}
			_, err := broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, cfg)
			if !errors.Is(err, broker.ErrForeign) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Provision = %v, want ErrForeign about %s", err, tt.says)
			}
		})
	}
}

func TestVerifyCreatesNothingAndNamesWhatDiffers(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	_, c := natstest.StartEmbedded(t, cfg, normal)
	lanes := []wire.Lane{normal}
	verify := cfg
	verify.Provision = broker.Verify
	_, err := broker.Provision(natstest.Within(t), c, lanes, verify)
	for _, want := range []string{"MAIL_RECORD: is missing", "MAIL_LATER_NORMAL: is missing", "MAIL_SEND_NORMAL/fresh: is missing"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Provision = %v, want it to say %q", err, want)
		}
	}
	if got := setup(t, c.JS()); len(got) != 0 {
		t.Errorf("verify made %v", got)
	}
	if _, err := broker.Provision(natstest.Within(t), c, lanes, cfg); err != nil {
		t.Fatal(err)
	}
	shorter := natstest.ConfigOf(t, c.JS(), wire.StreamRecord)
	shorter.MaxAge = time.Hour
	natstest.Update(t, c.JS(), shorter)
	_, err = broker.Provision(natstest.Within(t), c, lanes, verify)
	if want := "stream MAIL_RECORD: max_age is 1h, must be 14d"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Provision = %v, want it to say %q", err, want)
	}
	if got := natstest.ConfigOf(t, c.JS(), wire.StreamRecord); got.MaxAge != time.Hour {
		t.Error("verify changed a stream")
	}
}

func TestAckWaitStands(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	tests := []struct {
		name   string
		set    bool
		want   time.Duration
		warned bool
	}{
		{"a worker goes by what the broker has", false, 2 * time.Minute, true},
		{"worker provision changes it", true, 30 * time.Second, false},
	}
	for _, tt := range tests {
		cfg := b.Config
		cfg.AckWait = 30 * time.Second
		cfg.SetAckWait = tt.set
		warnings, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for _, q := range [][2]string{{normal.SendStream(), wire.ConsumerFresh}, {normal.LaterStream(), wire.ConsumerDue}} {
			got, err := b.Conn.AckWait(natstest.Within(t), q[0], q[1])
			if err != nil || got != tt.want {
				t.Errorf("%s: AckWait of %v = %v, %v; want %v", tt.name, q, got, err, tt.want)
			}
		}
		if got := strings.Contains(fmt.Sprint(warnings), "POSTRIDER_ACK_WAIT is 30s, but the broker has 2m,"); got != tt.warned {
			t.Errorf("%s: warnings = %q", tt.name, warnings)
		}
	}
	// The worker that embeds the broker may change it.
	own, err := b.Embedded.Connect(natstest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	cfg := b.Config
	cfg.AckWait = 3 * time.Second
	if _, err := broker.Provision(natstest.Within(t), own, b.Lanes, cfg); err != nil {
		t.Fatal(err)
	}
	if got, err := own.AckWait(natstest.Within(t), normal.SendStream(), wire.ConsumerFresh); err != nil || got != cfg.AckWait {
		t.Errorf("AckWait = %v, %v; want %v", got, err, cfg.AckWait)
	}
	if _, err := own.AckWait(natstest.Within(t), normal.SendStream(), "nobody"); !errors.Is(err, stream.ErrNoConsumer) {
		t.Errorf("a consumer that is not there: %v", err)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	own, err := b.Embedded.Connect(natstest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	warnings, err := broker.Provision(natstest.Within(t), own, b.Lanes, b.Config)
	if err != nil || len(warnings) != 0 {
		t.Errorf("the embedded broker as shipped: warnings %q, %v", warnings, err)
	}
	// Seen from outside its name says how it writes.
	warnings, err = broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config)
	if err != nil || len(warnings) != 0 {
		t.Errorf("the embedded broker from outside: warnings %q, %v", warnings, err)
	}
	// Any other single server does not say, whatever it is called: these do not sync.
	_, operator, _ := strings.Cut(b.Conn.NC().ConnectedServerName(), "-")
	for _, name := range []string{"postrider-mine", "postrider-unsynced-" + operator} {
		plain := broker.DefaultConfig()
		plain.URL = natstest.StartServer(t, func(o *server.Options) { o.ServerName, o.SyncAlways = name, false })
		plain.DataDir = t.TempDir()
		c := natstest.Dial(t, plain, broker.Worker)
		warnings, err = broker.Provision(natstest.Within(t), c, b.Lanes, plain)
		if err != nil || len(warnings) != 2 || !strings.Contains(warnings[0], "a power cut loses acknowledged mail: set sync_interval: always") || !strings.Contains(warnings[1], "account $G") {
			t.Errorf("a single server %s: warnings %q, %v", name, warnings, err)
		}
	}
}

func TestReplicasNeedServers(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	_, c := natstest.StartEmbedded(t, cfg, normal)
	cfg.Replicas = 3
	_, err := broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, cfg)
	if err == nil || !strings.Contains(err.Error(), "POSTRIDER_REPLICAS") {
		t.Errorf("Provision = %v, want a sentence about POSTRIDER_REPLICAS", err)
	}
}

func TestThreeReplicas(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, normal)
	c := n.Connect(t, broker.Worker)
	for _, name := range []string{normal.SendStream(), normal.LaterStream(), wire.StreamRecord, wire.StreamEvent, wire.StreamDead} {
		s, err := c.JS().Stream(natstest.Within(t), name)
		if err != nil {
			t.Fatal(err)
		}
		if r := s.CachedInfo().Config.Replicas; r != 3 {
			t.Errorf("stream %s has %d replicas, want 3", name, r)
		}
	}
	// Again, with one server away: nothing to do, and no warning of single writes.
	leader := n.Leader(normal.SendStream())
	n.Stop(max(leader, 0))
	var warnings []string
	testrun.Eventually(t, "two of three can be provisioned", 20*time.Second, func() bool {
		var err error
		warnings, err = broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, n.Config)
		if err != nil && !errors.Is(err, stream.ErrAway) {
			t.Fatal(err)
		}
		return err == nil
	})
	for _, w := range warnings {
		if strings.Contains(w, "replica") {
			t.Errorf("warning: %s", w)
		}
	}
}

func TestMailInALaneThatWasTakenOut(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	if _, err := b.Conn.JS().Publish(natstest.Within(t), bulk.SendSubject(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	warnings, err := broker.Provision(natstest.Within(t), b.Conn, []wire.Lane{normal}, b.Config)
	if err != nil {
		t.Fatal(err)
	}
	if all := strings.Join(warnings, "\n"); !strings.Contains(all, "lane bulk holds 1 messages and is not among POSTRIDER_LANES") {
		t.Errorf("warnings: %s", all)
	}
}
