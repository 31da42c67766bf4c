package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const lane wire.Lane = "normal"

// testBroker is a broker with one lane, and the patient that it is.
type testBroker struct {
	t    *testing.T
	conn *broker.Conn
	js   jetstream.JetStream
	p    *Patient
}

func newTestBroker(t *testing.T, conn *broker.Conn, cfg broker.Config) *testBroker {
	cfg.AckWait = 0
	store := conn.Store()
	return &testBroker{t, conn, conn.JS(), &Patient{Conn: conn, Broker: cfg, Queue: queue.New(conn.JS(), store, conn.Now, conn.Room)}}
}

func embedded(t *testing.T) *testBroker {
	b := natstest.Start(t, lane)
	return newTestBroker(t, b.Conn, b.Config)
}

// plain is a server as somebody else runs it, with that much room for its one
// account; who comes has the canary as its token.
func plain(t *testing.T, maxFile string) *testBroker {
	cfg := broker.DefaultConfig()
	cfg.DataDir = t.TempDir()
	cfg.URL = natstest.StartServer(t, func(o *server.Options) {
		if maxFile == "" {
			o.Authorization = canary
			return
		}
		if err := o.ProcessConfigString(`
			accounts { MAIL { jetstream: { max_file: ` + maxFile + ` }, users: [{user: "op", password: "` + canary + `"}] } }`); err != nil {
			t.Fatal(err)
		}
	})
	user := canary
	if maxFile != "" {
		user = "op:" + canary
	}
	cfg.URL = strings.Replace(cfg.URL, "://", "://"+user+"@", 1)
	conn := natstest.Dial(t, cfg, broker.Worker)
	if _, err := broker.Provision(t.Context(), conn, []wire.Lane{lane}, cfg); err != nil {
		t.Fatal(err)
	}
	return newTestBroker(t, conn, cfg)
}

func (b *testBroker) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// pull asks for mail of both consumers, as a worker does.
func (b *testBroker) pull() {
	b.t.Helper()
	nc := b.conn.NC()
	inbox := nc.NewInbox() // the broker forgets pulls of those who do not listen
	_, err := nc.SubscribeSync(inbox)
	b.must(err)
	for stream, name := range map[string]string{lane.SendStream(): wire.ConsumerFresh, lane.LaterStream(): wire.ConsumerDue} {
		b.must(nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT."+stream+"."+name, inbox, []byte(`{"batch":1,"expires":60000000000}`)))
	}
	b.must(nc.Flush())
}

func (b *testBroker) examine() []Finding {
	b.t.Helper()
	all, err := Examine(b.t.Context(), b.p)
	b.must(err)
	return all
}

// want checks that exactly one finding of the check says so.
func (b *testBroker) want(level Level, check, says string) {
	b.t.Helper()
	wantIn(b.t, b.examine(), level, check, says)
}

func wantIn(t *testing.T, all []Finding, level Level, check, says string) {
	t.Helper()
	n := 0
	for _, f := range all {
		if f.Check == check && f.Level == level && strings.Contains(f.At+": "+f.Found, says) {
			n++
			if level != OK && f.Do == "" {
				t.Errorf("says not what to do: %+v", f)
			}
		}
	}
	if strings.Contains(written(all), canary) {
		t.Errorf("tells a secret:\n%s", written(all))
	}
	if n != 1 {
		t.Errorf("%d findings of %s at level %s say %q:\n%s", n, check, level, says, written(all))
	}
}

func written(all []Finding) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString("  " + string(f.Level) + " " + f.Check + " " + f.At + ": " + f.Found + " | " + f.Do + "\n")
	}
	return b.String()
}

func (b *testBroker) stream(name string, change func(*jetstream.StreamConfig)) {
	b.t.Helper()
	s, err := b.js.Stream(b.t.Context(), name)
	b.must(err)
	cfg := s.CachedInfo().Config
	change(&cfg)
	_, err = b.js.UpdateStream(b.t.Context(), cfg)
	b.must(err)
}

func (b *testBroker) consumer(change func(*jetstream.ConsumerConfig)) {
	b.t.Helper()
	q, err := b.js.Consumer(b.t.Context(), lane.SendStream(), wire.ConsumerFresh)
	b.must(err)
	cfg := q.CachedInfo().Config
	change(&cfg)
	_, err = b.js.UpdateConsumer(b.t.Context(), lane.SendStream(), cfg)
	b.must(err)
}

func (b *testBroker) publish(subject string, body string) {
	b.t.Helper()
	_, err := b.js.Publish(b.t.Context(), subject, []byte(body))
	b.must(err)
}

func TestNothingIsWrong(t *testing.T) {
	t.Parallel()
	b := embedded(t)
	b.pull()
	all := b.examine()
	if got := all[0].Level; got != Note { // of the relay, which was not looked at
		t.Errorf("%s:\n%s", got, written(all))
	}
	wantIn(t, all, Note, "relay", "SMTP_URL: is not set here")
	for _, check := range []string{"broker", "writes", "producers", "room", "disk", "streams", "log", "consumers", "mail", "stranded", "schedules", "dead", "clock"} {
		wantIn(t, all, OK, check, "")
	}
}

// TestFaults makes each fault and looks for the finding about it.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault func(*testBroker)
		level Level
		check string
		says  string
	}{
		"nobody takes": {func(*testBroker) {}, Problem, "consumers", "MAIL_SEND_NORMAL/fresh, MAIL_LATER_NORMAL/due: no worker asks"},
		"consumer gone": {func(b *testBroker) {
			b.must(b.js.DeleteConsumer(b.t.Context(), lane.LaterStream(), wire.ConsumerDue))
		}, Problem, "consumers", "MAIL_LATER_NORMAL/due: is missing"},
		"consumer changed": {func(b *testBroker) { b.consumer(func(c *jetstream.ConsumerConfig) { c.MaxAckPending = 7 }) },
			Problem, "consumers", "MAIL_SEND_NORMAL/fresh: max_ack_pending is 7, must be 4096"},
		"consumer paused": {func(b *testBroker) {
			_, err := b.js.PauseConsumer(b.t.Context(), lane.SendStream(), wire.ConsumerFresh, time.Now().Add(time.Hour))
			b.must(err)
		}, Problem, "consumers", "MAIL_SEND_NORMAL/fresh: is paused for"},
		"another POSTRIDER_ACK_WAIT": {func(b *testBroker) { b.p.Broker.AckWait = 30 * time.Second }, Warning, "consumers", "POSTRIDER_ACK_WAIT is 30s, but the broker has 2m,"},
		"stream changed": {func(b *testBroker) {
			b.stream(wire.StreamRecord, func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour })
		}, Problem, "streams", "MAIL_RECORD: max_age is 1h, must be 14d"},
		"stream of a development build": {func(b *testBroker) {
			b.stream(wire.StreamRecord, func(c *jetstream.StreamConfig) { c.Metadata["postrider-version"] = "0" })
		}, Problem, "streams", "development build"},
		"stream of a newer version": {func(b *testBroker) {
			b.stream(wire.StreamRecord, func(c *jetstream.StreamConfig) { c.Metadata["postrider-version"] = "99" })
		}, Warning, "streams", "MAIL_RECORD: was set up by a newer Postrider"},
		"stream gone": {func(b *testBroker) { b.must(b.js.DeleteStream(b.t.Context(), lane.LaterStream())) },
			Problem, "streams", "MAIL_LATER_NORMAL: is missing"},
		"subjects taken": {func(b *testBroker) {
			b.must(b.js.DeleteStream(b.t.Context(), wire.StreamDead))
			_, err := b.js.CreateStream(b.t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"mail.dead.>"}})
			b.must(err)
		}, Problem, "streams", "the stream OTHER takes its subject"},
		"lane gone":      {func(b *testBroker) { b.p.Lanes = []wire.Lane{lane, "slow"} }, Problem, "streams", "MAIL_SEND_SLOW, MAIL_LATER_SLOW: is missing"},
		"lane forgotten": {func(b *testBroker) { b.p.Lanes = []wire.Lane{"slow"}; b.publish(lane.SendSubject(), "x") }, Warning, "lanes", "normal: has 1 message and is not among POSTRIDER_LANES"},
		"lane nobody asks for": {func(b *testBroker) {
			_, err := broker.Provision(b.t.Context(), b.conn, []wire.Lane{lane, "spare"}, broker.DefaultConfig())
			b.must(err)
			b.p.Lanes = []wire.Lane{lane}
		}, OK, "consumers", "4 consumers: as they must be"},
		"lane without a worker": {func(b *testBroker) {
			_, err := broker.Provision(b.t.Context(), b.conn, []wire.Lane{lane, "spare"}, broker.DefaultConfig())
			b.must(err)
		}, Problem, "consumers", "MAIL_SEND_SPARE/fresh, MAIL_LATER_SPARE/due: no worker asks"},
		"log cut off": {func(b *testBroker) { b.stream(wire.StreamEvent, func(c *jetstream.StreamConfig) { c.Sources = nil }) }, Warning, "log", "does not source MAIL_RECORD"},
		"lane full":   {fillLane, Problem, "room", "MAIL_SEND_NORMAL: 95 % of its MaxBytes"},
		"stranded":    {strand, Warning, "stranded", "MAIL_SEND_NORMAL: at least 2 messages"},
		"mail that waits": {func(b *testBroker) {
			b.publish(lane.SendSubject(), "x")
			b.publish(lane.SendSubject(), "x")
		}, OK, "stranded", "no message is stranded"},
		"never due":     {func(b *testBroker) { b.publish("mail.copy.normal.later.x.1-1.all", "x") }, Problem, "schedules", "1 schedule without a time"},
		"a dead letter": {bury, Warning, "dead", "1 dead letter, the oldest died"},
		"wrong setting": {func(b *testBroker) { b.p.Faults = []error{context.Canceled} }, Problem, "settings", context.Canceled.Error()},
		"wrong rules": {func(b *testBroker) {
			b.p.RulesFaults = []error{errors.New("POSTRIDER_RELAYS: /r.yaml:1:2: one"), errors.New("POSTRIDER_RELAYS: /r.yaml:3:4: two")}
		}, Problem, "settings", "/r.yaml:1:2: one\n/r.yaml:3:4: two"},
		"scheduled later": {schedule, OK, "schedules", "no schedule is overdue"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := embedded(t)
			if name != "nobody takes" && name != "stranded" {
				b.pull()
			}
			c.fault(b)
			b.want(c.level, c.check, c.says)
		})
	}
}

// TestWorkersSay: workers that ask for no mail because their relay is down are one finding
// about the relay; without a worker it is said that there is none.
func TestWorkersSay(t *testing.T) {
	t.Parallel()
	b := embedded(t)
	b.publish(lane.SendSubject(), "x")
	all := b.examine()
	if slices.ContainsFunc(all, func(f Finding) bool { return f.Check == "consumers" && f.Level == Problem }) {
		t.Errorf("it is said twice:\n%s", written(all))
	}
	wantIn(t, all, Problem, "mail", "no worker takes mail of this lane: none is running")
	wantIn(t, all, Note, "workers", "none is running")

	now := b.conn.Now()
	w := &wire.Worker{V: wire.WorkerVersion, ID: "1", Host: "h1", Started: now, State: wire.WorkerWaiting, Lanes: []wire.Lane{lane}, Relay: wire.Relay{
		Name: "r:25", State: wire.RelayDown, Since: now, Words: "refused the session: 421 no", Hint: "ask its operator", Next: now.Add(time.Minute),
	}}
	body, err := w.Encode()
	b.must(err)
	b.must(b.conn.Store().Keep(t.Context(), w.Subject(), body, time.Minute))
	all = b.examine()
	wantIn(t, all, Problem, "relay", "r:25: workers say: refused the session: 421 no; down since ")
	wantIn(t, all, OK, "workers", "1 (h1)")
	wantIn(t, all, OK, "mail", "waits for relay r:25")
	wantIn(t, all, OK, "consumers", "")
	if slices.ContainsFunc(all, func(f Finding) bool { return f.Level == Problem && f.Check != "relay" }) {
		t.Errorf("more is wrong:\n%s", written(all))
	}
}

func fillLane(b *testBroker) {
	b.stream(lane.SendStream(), func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 })
	b.publish(lane.SendSubject(), strings.Repeat("x", 95<<20/100))
}

// strand has two messages run out of deliveries, which end with the ack-wait.
// Behind them one is settled and one waits.
func strand(b *testBroker) {
	b.consumer(func(c *jetstream.ConsumerConfig) { c.MaxDeliver, c.AckWait = 1, 100*time.Millisecond })
	q, err := b.js.Consumer(b.t.Context(), lane.SendStream(), wire.ConsumerFresh)
	b.must(err)
	for range 2 {
		b.publish(lane.SendSubject(), "x")
		_, err := q.Next(jetstream.FetchMaxWait(10 * time.Second))
		b.must(err)
	}
	testrun.Eventually(b.t, "their leases expire", natstest.Timeout, func() bool {
		info, err := q.Info(natstest.Within(b.t))
		b.must(err)
		return info.NumAckPending == 0
	})
	b.publish(lane.SendSubject(), "settled")
	b.publish(lane.SendSubject(), "waits")
	m, err := q.Next(jetstream.FetchMaxWait(10 * time.Second))
	b.must(err)
	b.must(m.DoubleAck(b.t.Context()))
}

func copyOf(id string) wire.Copy {
	return wire.Copy{Key: wire.Key{Lane: lane, ID: id, Origin: "1700000000000000000-7", Recipient: wire.All}, Generation: 1, Enqueued: time.Now()}
}

func bury(b *testBroker) {
	store := b.conn.Store()
	dead := deadletter.New(store, journal.New(store), b.conn.Now)
	_, err := dead.Bury(b.t.Context(), &wire.DeadLetter{Copy: copyOf("dead"), Reason: mail.ReasonFailed, Error: "no such user", Body: []byte("{}")})
	b.must(err)
}

func schedule(b *testBroker) {
	c := copyOf("later")
	m := nats.NewMsg(c.Key.CopySubject(wire.CopyLater))
	m.Header = c.Headers(nil)
	wire.Schedule(m.Header, time.Now().Add(time.Hour), c.Key)
	_, err := b.js.PublishMsg(b.t.Context(), m)
	b.must(err)
}

// TestPlainServer is a single server that does not sync, and does not say so, and
// whose account everybody shares.
func TestPlainServer(t *testing.T) {
	t.Parallel()
	b := plain(t, "")
	b.pull()
	all := b.examine()
	wantIn(t, all, Note, "writes", "one replica on a broker that does not say whether it syncs its writes; if it does not, a power cut loses acknowledged mail")
	wantIn(t, all, Warning, "producers", "producers share the account $G")
	wantIn(t, all, Note, "room", "has no limit")
	if got := all[0].Level; got != Warning {
		t.Errorf("%s:\n%s", got, written(all))
	}
}

// TestRoom fills the store.
func TestRoom(t *testing.T) {
	t.Parallel()
	b := plain(t, "64MiB")
	b.pull()
	all := b.examine()
	wantIn(t, all, OK, "room", "of 64.0 MiB are stored")
	wantIn(t, all, OK, "producers", "it is MAIL")
	block := strings.Repeat("x", 1000<<10)
	fill := func(n int) {
		for range n {
			b.publish("mail.dead.normal."+nats.NewInbox()[7:]+".1-1.all", block)
		}
	}
	fill(51)
	b.want(Warning, "room", "worker takes fresh mail one at a time")
	fill(9)
	b.want(Problem, "room", "worker takes mail one at a time")
}

// TestReplicas stops a server of three.
func TestReplicas(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, lane)
	b := newTestBroker(t, n.Connect(t, broker.Worker), n.Config)
	b.pull()
	until := func(level Level, check, says string) {
		t.Helper()
		var all []Finding
		testrun.Eventually(t, check+": "+says, 40*time.Second, func() bool {
			var err error
			all, err = Examine(t.Context(), b.p)
			return err == nil && slices.ContainsFunc(all, func(f Finding) bool { // no error, once it has elected
				return f.Level == level && f.Check == check && strings.Contains(f.Found, says)
			})
		}, func() string { return written(all) })
	}
	b.want(OK, "writes", "every stream has replicas")
	until(OK, "replicas", "up to date")
	for i := range 3 {
		if i != n.Leader(wire.StreamRecord) {
			n.Stop(i)
			break
		}
	}
	until(Warning, "replicas", "is offline")
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	all, err := Examine(t.Context(), &Patient{Away: stream.ErrAway})
	if err == nil {
		t.Error("no error")
	}
	wantIn(t, all, Problem, "broker", stream.ErrAway.Error())
	wantIn(t, all, Note, "relay", "not set here")
}
