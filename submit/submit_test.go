package submit_test

import (
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// stored is a message of a lane.
func stored(t *testing.T, b *natstest.Broker, r submit.Receipt) *jetstream.RawStreamMsg {
	t.Helper()
	s, err := b.Conn.JS().Stream(t.Context(), r.Lane.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.GetMsg(t.Context(), r.Sequence)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPublish(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	c := submit.New(b.Producer(t))
	for _, lane := range []wire.Lane{normal, bulk} {
		first, err := c.Publish(within(t, patience), lane, hello("order-17"))
		if err != nil || first != (submit.Receipt{ID: "order-17", Lane: lane, Sequence: 1}) {
			t.Fatalf("Publish = %+v, %v", first, err)
		}
		again, err := c.Publish(within(t, patience), lane, hello("order-17"))
		if first.Duplicate = true; err != nil || again != first {
			t.Errorf("the same ID again = %+v, %v; want a duplicate of %d", again, err, first.Sequence)
		}
		m := stored(t, b, first)
		e, err := schema.Decode(m.Header, m.Data)
		if err != nil || e.ID != "order-17" || *e.Text != "Hi" || m.Subject != lane.SendSubject() || m.Header.Get(schema.HeaderMsgID) != "order-17" {
			t.Errorf("stored on %s with %v: %+v, %v", m.Subject, m.Header, e, err)
		}
	}
}

func TestPublishWithoutAnID(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	e := hello("")
	for sequence := range uint64(2) {
		r, err := c.Publish(within(t, patience), normal, e)
		if err != nil || len(r.ID) != 36 || r.Sequence != sequence+1 || r.Duplicate || e.ID != "" {
			t.Fatalf("Publish = %+v, %v; the envelope's ID is now %q", r, err, e.ID)
		}
		m := stored(t, b, r)
		if got, err := schema.Decode(m.Header, m.Data); err != nil || got.ID != r.ID || m.Header.Get(schema.HeaderMsgID) != r.ID {
			t.Errorf("stored %+v with %v, %v; want ID %s", got, m.Header, err, r.ID)
		}
	}
}

// TestPublishOfTwoTenants: one's ID does not drop the other's mail.
func TestPublishOfTwoTenants(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Conn.NC())
	for i, tenant := range []string{"acme", "globex", ""} {
		e := hello("1")
		e.Tenant = tenant
		r, err := c.Publish(within(t, patience), normal, e)
		if err != nil || r.ID != "1" || r.Sequence != uint64(i+1) || r.Duplicate {
			t.Fatalf("%q: Publish = %+v, %v", tenant, r, err)
		}
		m := stored(t, b, r)
		id, subject := "1", "mail.send.normal"
		if tenant != "" {
			id, subject = tenant+":1", subject+"."+tenant
		}
		if m.Subject != subject || m.Header.Get(schema.HeaderMsgID) != id {
			t.Errorf("%q: stored on %s with %v", tenant, m.Subject, m.Header)
		}
		if got, ok := normal.TenantOf(m.Subject); !ok || got != tenant {
			t.Errorf("%q: a worker reads the tenant %q, %v", tenant, got, ok)
		}
	}
}

func TestPublishAMessage(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	message := raw(100)
	r, err := c.Publish(within(t, patience), normal, &schema.Envelope{
		ID: "m", Raw: message, Tags: []string{"t"}, Envelope: &schema.Path{RcptTo: []string{"x@example.net", "y@example.net"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := stored(t, b, r)
	e, err := schema.Decode(m.Header, m.Data)
	if err != nil || string(m.Data) != string(message) || len(e.Recipients()) != 2 || e.ID != "m" || e.Tags[0] != "t" {
		t.Errorf("stored with %v: %+v, %v", m.Header, e, err)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	for field, change := range map[string]func(*schema.Envelope){
		"to[0]":                     func(e *schema.Envelope) { e.To[0].Email = "x" },
		"headers.To":                func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"To": {"x@y"}} },
		"relay":                     func(e *schema.Envelope) { e.Relay = "backup" },
		"tenant":                    func(e *schema.Envelope) { e.Tenant = "A" },
		"subject":                   func(e *schema.Envelope) { e.Subject = "\xff" },
		"attachments[0].content_id": func(e *schema.Envelope) { e.Attachments = []schema.Attachment{{Content: []byte{}, ContentID: "<x>"}} },
		"":                          func(e *schema.Envelope) { e.Text = new(string); *e.Text = strings.Repeat("x", 1<<20); e.To = many(300) },
	} {
		e := hello("x")
		change(e)
		_, err := c.Publish(within(t, patience), normal, e)
		for _, err := range []error{err, submit.Check(e)} {
			if bad, ok := errors.AsType[*schema.EnvelopeError](err); !ok || bad.Field != field {
				t.Errorf("%s: %v", field, err)
			}
		}
	}
	if err := submit.Check(hello("x")); err != nil {
		t.Error(err)
	}
	if _, err := c.Publish(within(t, patience), "UP", hello("x")); !errors.Is(err, submit.ErrNoLane) {
		t.Error(err)
	}
	s, err := b.Conn.JS().Stream(t.Context(), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != 0 {
		t.Errorf("%d mails were stored", n)
	}
}

func many(n int) []mail.Address {
	list := make([]mail.Address, n)
	for i := range list {
		list[i].Email = "a@example.net"
	}
	return list
}

func TestFailures(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	js := b.Conn.JS()
	s, err := js.Stream(t.Context(), bulk.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	small := s.CachedInfo().Config
	small.MaxBytes = 1000
	if _, err := js.UpdateStream(t.Context(), small); err != nil {
		t.Fatal(err)
	}
	c := submit.New(b.Producer(t))
	for name, tt := range map[string]struct {
		lane wire.Lane
		size int
		want error
		says []string
	}{
		"full":             {bulk, 2000, stream.ErrFull, []string{"publish to lane bulk", "10077"}},
		"over the lane's":  {normal, 8<<20 - 32<<10, stream.ErrTooLarge, []string{"the lane takes 8323072, and 65536 of headers"}},
		"over max_payload": {normal, 9 << 20, stream.ErrTooLarge, []string{"it has 943", "the lane takes 8323072"}},
	} {
		_, err := c.Publish(within(t, patience), tt.lane, &schema.Envelope{Raw: raw(tt.size)})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: Publish = %v, want %v", name, err, tt.want)
			continue
		}
		for _, says := range tt.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: Publish = %v, want it to say %q", name, err, says)
			}
		}
	}
}

func TestNoLane(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, nc := range []*nats.Conn{b.Conn.NC(), b.Connect(t, broker.Publisher).NC(), b.Producer(t)} {
		_, err := submit.New(nc).Publish(within(t, patience), "nrmal", hello("x"))
		if !errors.Is(err, submit.ErrNoLane) || errors.Is(err, stream.ErrAway) || !strings.Contains(err.Error(), "nrmal") || !strings.Contains(err.Error(), "POSTRIDER_LANES") {
			t.Errorf("Publish = %v, want ErrNoLane", err)
		}
	}
	t.Run("without a deadline", func(t *testing.T) {
		t.Parallel()
		if _, err := submit.New(b.Producer(t)).Publish(t.Context(), "nrmal", hello("x")); !errors.Is(err, submit.ErrNoLane) || !strings.Contains(err.Error(), "its broker takes no mail for other lanes, even if postrider status lists them") {
			t.Errorf("Publish = %v, want ErrNoLane", err)
		}
	})
}

// TestNoLaneIsSaidAtOnce by a broker that says which lanes it has. One that does not say
// is waited for, and the caller is told so within the first second.
func TestNoLaneIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	for name, x := range map[string]struct {
		nc    *nats.Conn
		waits bool
		word  string
	}{
		"worker's": {b.Connect(t, broker.Worker).NC(), true, "POSTRIDER_LANES"}, // no question is needed
		"producer": {b.Producer(t), true, "POSTRIDER_LANES"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, began := submit.New(x.nc), time.Now()
			var told []time.Duration
			c.Waiting = func(why error) {
				told = append(told, time.Since(began))
				if !strings.Contains(why.Error(), "no stream takes mail.send.nrmal; waiting up to 2s") {
					t.Errorf("told: %v", why)
				}
			}
			_, err := c.Publish(within(t, patience), "nrmal", hello("x"))
			if !errors.Is(err, submit.ErrNoLane) || !strings.Contains(err.Error(), x.word) || time.Since(began) > 5*time.Second {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			if len(told) != 1 || told[0] > time.Second {
				t.Errorf("told %v", told)
			}
		})
	}
}

// TestNoLaneOfAnOwnBroker: with others' account or permissions no answer comes, and an
// account without lanes may import them from another.
func TestNoLaneOfAnOwnBroker(t *testing.T) {
	t.Parallel()
	url := natstest.StartServer(t, func(o *server.Options) {
		producers := &server.Permissions{Publish: &server.SubjectPermission{Allow: []string{"mail.send.*"}}}
		o.Users = []*server.User{{Username: "admin", Password: "x"}, {Username: "producer", Password: "x", Permissions: producers}}
	})
	connect := func(user string) *broker.Conn {
		cfg := broker.DefaultConfig()
		cfg.URL, cfg.User, cfg.Password, cfg.Role = url, user, "x", broker.Publisher
		c, err := broker.Dial(within(t, patience), cfg, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c
	}
	if _, err := broker.Provision(t.Context(), connect("admin"), []wire.Lane{normal, bulk}, broker.DefaultConfig()); err != nil {
		t.Fatal(err)
	}
	for user, want := range map[string]string{"admin": "the broker has bulk, normal", "producer": ""} {
		c, began := submit.New(connect(user).NC()), time.Now()
		told := make(chan error, 1)
		c.Waiting = func(why error) { told <- why }
		if want != "" {
			_, err := c.Publish(within(t, patience), "nrmal", hello("x"))
			if !errors.Is(err, submit.ErrNoLane) || !strings.HasSuffix(err.Error(), want) || time.Since(began) > time.Second || len(told) > 0 {
				t.Errorf("%s: after %s: %v", user, time.Since(began), err)
			}
			continue
		}
		_, err := c.Publish(within(t, 2*time.Second), "nrmal", hello("x"))
		if why := <-told; !untaken(err, "the lane of mail.send.nrmal may not exist, or its NATS cluster has no leader or quorum; check the name") || !strings.Contains(why.Error(), "waiting up to 10s") {
			t.Errorf("%s: told %v, then %v", user, why, err)
		}
	}
}

// untaken reports that the error says so, and that trying again may help.
func untaken(err error, words string) bool {
	return errors.Is(err, stream.ErrAway) && !errors.Is(err, submit.ErrNoLane) && strings.Contains(err.Error(), words)
}

// TestNoQuorum: of three servers one is left, and the lane has no leader. That the lane
// does not exist would be wrong, and would have a program drop its mail.
func TestNoQuorum(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, normal)
	nc, leads := n.Connect(t, broker.Publisher).NC(), n.Leader(normal.SendStream())
	n.Stop((leads + 1) % 3)
	n.Stop(leads) // nobody can follow it
	testrun.Eventually(t, "the last server is reached", patience, nc.IsConnected)
	const words = "the broker has no leader or quorum for mail.send.normal; try again"
	c := submit.New(nc)
	if _, err := c.Publish(within(t, patience), normal, hello("x")); !untaken(err, words) {
		t.Errorf("Publish = %v", err)
	}
	began := time.Now()
	results := resultsOf(within(t, patience), c, normal, slices.Values(mails(500)))
	if some := count(results, func(r result) bool { return untaken(r.err, words) }); some != 500 || time.Since(began) > 20*time.Second {
		t.Errorf("after %s %d of %d are untaken, the first: %v", time.Since(began), some, len(results), results[0].err)
	}
}

// TestLeaderWithoutQuorum: the last of three servers leads the lane. It does not answer
// the first try, and says of the second that the first is in process.
func TestLeaderWithoutQuorum(t *testing.T) {
	t.Parallel()
	n := natstest.StartCluster(t, time.Minute, normal)
	leads := n.Leader(normal.SendStream())
	n.Stop((leads + 1) % 3)
	n.Stop((leads + 2) % 3)
	_, err := submit.New(n.Connect(t, broker.Publisher).NC()).Publish(within(t, 8*time.Second), normal, hello("x"))
	if !errors.Is(err, stream.ErrAway) || errors.Is(err, submit.ErrNoLane) {
		t.Errorf("Publish = %v", err)
	}
}

// TestForbidden: producers of the embedded broker have no tenants.
func TestForbidden(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	e := hello("a")
	e.Tenant = "acme"
	_, err := submit.New(b.Producer(t, nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))).Publish(t.Context(), normal, e)
	if err == nil || !strings.Contains(err.Error(), "mail.send.normal.acme: the producers of a worker's embedded broker have no tenants") || !errors.Is(err, submit.ErrForbidden) || errors.Is(err, stream.ErrAway) {
		t.Errorf("Publish = %v", err)
	}
}

// TestForbiddenUser: a worker's credential cannot publish to lanes and hears no answer.
// The publish ends at once and names the user.
func TestForbiddenUser(t *testing.T) {
	t.Parallel()
	allow := func(subjects ...string) *server.SubjectPermission { return &server.SubjectPermission{Allow: subjects} }
	worker := &server.Permissions{Publish: allow("mail.record.>"), Subscribe: allow("_INBOX_worker.>")}
	listener := &server.Permissions{Publish: allow("mail.record.>"), Subscribe: allow(">")}
	cfg := broker.DefaultConfig()
	cfg.URL = natstest.StartServer(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "worker", Password: "x", Permissions: worker}, {Username: "listener", Password: "x", Permissions: listener},
		}
	})
	for user, says := range map[string]string{
		"worker":   `do not allow it: user "worker" may not publish to mail.send.normal`,
		"listener": `do not allow it: user "listener" may not publish to mail.send.normal`,
	} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			cfg := cfg
			cfg.User, cfg.Password = user, "x"
			c, err := submit.Dial(within(t, patience), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			start := time.Now()
			if _, err := c.Publish(within(t, patience), normal, hello("a")); err == nil || !strings.Contains(err.Error(), says) || !errors.Is(err, submit.ErrForbidden) || errors.Is(err, stream.ErrAway) || time.Since(start) > patience/10 {
				t.Errorf("Publish = %v after %s", err, time.Since(start))
			}
		})
	}
}

func TestPublishOutlastsARestart(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c, err := submit.Dial(within(t, patience), b.Config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx := within(t, patience)
	if err := b.Embedded.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	type result struct {
		receipt submit.Receipt
		err     error
	}
	done := make(chan result)
	go func() {
		r, err := c.Publish(ctx, normal, hello("a"))
		done <- result{r, err}
	}()
	b.Restart(t)
	if r := <-done; r.err != nil || r.receipt.Duplicate {
		t.Fatalf("Publish over a restart = %+v, %v", r.receipt, r.err)
	}
	if again, err := c.Publish(ctx, normal, hello("a")); err != nil || !again.Duplicate {
		t.Errorf("the same ID again = %+v, %v; want a duplicate", again, err)
	}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := submit.New(b.Producer(t))
	if err := b.Embedded.Shutdown(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(within(t, briefly), normal, hello("a")); !errors.Is(err, stream.ErrAway) || errors.Is(err, submit.ErrNoLane) {
		t.Errorf("Publish to a broker that is gone = %v, want ErrAway", err)
	}
}

// TestPublishOverAClosedConnection does not try for ever.
func TestPublishOverAClosedConnection(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	nc := b.Producer(t)
	nc.Close()
	if _, err := submit.New(nc).Publish(t.Context(), normal, hello("a")); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Publish = %v, want ErrAway", err)
	}
}

// TestAnswerIsLost: the second try finds what the first one stored.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, c := range []struct {
		lane      wire.Lane
		id        string
		duplicate bool
	}{{"fake1", "a", true}, {"fake2", "", false}} {
		tries := make(chan string, 10)
		sub, err := b.Conn.NC().Subscribe(c.lane.SendSubject(), func(m *nats.Msg) {
			tries <- m.Header.Get(schema.HeaderMsgID)
			if len(tries) > 1 {
				_ = m.Respond([]byte(`{"stream":"X","seq":7,"duplicate":true}`))
				return
			}
			_ = m.Respond([]byte(`{"error":{"code":503,"err_code":10008,"description":"JetStream system temporarily unavailable"}}`))
		})
		if err != nil {
			t.Fatal(err)
		}
		r, err := submit.New(b.Conn.NC()).Publish(within(t, patience), c.lane, hello(c.id))
		if err != nil || r.Sequence != 7 || r.Duplicate != c.duplicate || len(tries) != 2 || <-tries != r.ID || <-tries != r.ID {
			t.Errorf("Publish with ID %q = %+v, %v", c.id, r, err)
		}
		_ = sub.Unsubscribe()
	}
}

func TestSomethingOtherThanAStreamAnswers(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	sub, err := b.Conn.NC().Subscribe("mail.send.fake", func(m *nats.Msg) { _ = m.Respond([]byte("+OK")) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if r, err := submit.New(b.Conn.NC()).Publish(within(t, patience), "fake", hello("a")); err == nil {
		t.Errorf("took %+v for an acknowledgement", r)
	}
}

func TestDialNoBroker(t *testing.T) {
	t.Parallel()
	cfg := broker.DefaultConfig()
	cfg.URL = "nats://127.0.0.1:9"
	start := time.Now()
	if _, err := submit.Dial(within(t, patience), cfg); !errors.Is(err, stream.ErrAway) || time.Since(start) > patience/2 {
		t.Errorf("Dial = %v after %s", err, time.Since(start))
	}
}
