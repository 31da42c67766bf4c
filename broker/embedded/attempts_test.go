package embedded_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

// What a client may try that may publish mail and nothing else, with a library and
// a good credential. strangers_test.go has clients without either.

var canary = wire.Key{Lane: normal, ID: "canary", Origin: "1-1", Recipient: wire.All}

// guarded is a broker with something in every stream, and the state of all.
type guarded struct {
	*natstest.Broker
	t      *testing.T
	before map[string]string
	// stored is the mail of each lane, with what attackers were allowed to publish.
	stored map[wire.Lane]int
}

func guard(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{Broker: natstest.Start(t, normal, bulk), t: t, stored: map[wire.Lane]int{bulk: 1}}
	for _, s := range []string{canary.DeadSubject(), canary.CopySubject(wire.CopyDue), canary.CopySubject(wire.CopyLater), canary.RecordSubject(), bulk.SendSubject()} {
		if _, err := g.Conn.JS().Publish(natstest.Within(t), s, []byte("ours")); err != nil {
			t.Fatal(err)
		}
	}
	// The entry of the record is sourced a little later; wait for it.
	natstest.AwaitLast(t, g.Conn, wire.StreamEvent, canary.EventSubject())
	g.before = counts(t, g.Conn)
	return g
}

// attacker is a client and what the broker refused it.
type attacker struct {
	*nats.Conn
	refused chan error
}

func (g *guarded) attacker(opts ...nats.Option) *attacker {
	g.t.Helper()
	a := &attacker{refused: make(chan error, 10_000)}
	opts = append(opts, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.refused <- err }))
	a.Conn = g.Producer(g.t, opts...)
	return a
}

// unharmed holds that the lanes have what they were allowed to take and that
// all else is as it was.
func (g *guarded) unharmed() {
	g.t.Helper()
	want := map[wire.Lane]string{}
	for _, l := range g.Lanes {
		n := g.stored[l]
		want[l] = fmt.Sprint(n, n, min(n, 1))
	}
	// Most was published without waiting for an answer.
	after := counts(g.t, g.Conn)
	for patience := natstest.Within(g.t); patience.Err() == nil && (after[normal.SendStream()] != want[normal] || after[bulk.SendStream()] != want[bulk]); {
		after = counts(g.t, g.Conn)
	}
	for _, l := range g.Lanes {
		g.before[l.SendStream()] = want[l]
	}
	for name, was := range g.before {
		if after[name] != was {
			g.t.Errorf("stream %s has %s, want %s", name, after[name], was)
		}
	}
	if len(after) != len(g.before) {
		g.t.Errorf("%d streams, want %d", len(after), len(g.before))
	}
	for stream, subject := range map[string]string{
		wire.StreamDead: canary.DeadSubject(), wire.StreamRecord: canary.RecordSubject(),
		normal.LaterStream(): canary.CopySubject(wire.CopyDue), bulk.SendStream(): bulk.SendSubject(),
	} {
		m, err := g.Conn.Store().Next(natstest.Within(g.t), stream, subject, 1, time.Time{})
		if err != nil || string(m.Data) != "ours" {
			g.t.Errorf("what was in %s is %v, %v", stream, m, err)
		}
	}
}

// forbiddenSubjects are those that a producer may not publish to.
func forbiddenSubjects() []string {
	all := []string{
		canary.CopySubject(wire.CopyDue), canary.CopySubject(wire.CopyLater), canary.RecordSubject(), canary.DeadSubject(), canary.EventSubject(), "mail.held.normal.a.1-1.all",
		"mail.send", "mail.send.normal.x", "mail.send.normal.", "mail.SEND.normal", "mail.>", "mail.*.normal", "MAIL_SEND_NORMAL",
		"$JS.ACK.MAIL_SEND_NORMAL.fresh.1.1.1.1.0", "$JS.ACK.MAIL_LATER_NORMAL.due.1.1.1.1.0", "$JS.FC.MAIL_SEND_NORMAL.fresh.x",
		"$SYS.REQ.USER.INFO", "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.PING.CONNZ", "$SYS.REQ.ACCOUNT.MAIL.CONNZ", "$SYS.REQ.ACCOUNT.PING.STATZ",
		"$SYS.REQ.SERVER.x.RELOAD", "$SYS.REQ.SERVER.x.KICK", "$SYS.REQ.CLAIMS.UPDATE", "$SYS.ACCOUNT.MAIL.CONNECT", "$SYS.DEBUG.SUBSCRIBERS",
		"_INBOX.somebody.else", "_INBOX_worker.x.y", "_INBOX_operator.x.y", "_INBOX_publish.x.y", "_R_.x.y", "_GR_.x.y", "$GNR.x", "$NRG.x", "$MQTT.x", "$KV.x.y", (&wire.Worker{ID: "x"}).Subject(), "x",
	}
	const api = "$JS.API."
	for _, s := range []string{
		"INFO", "STREAM.NAMES", "STREAM.LIST", "STREAM.CREATE.MINE", "META.LEADER.STEPDOWN", "SERVER.REMOVE", "ACCOUNT.PURGE.MAIL",
		"ACCOUNT.STREAM.MOVE.MAIL.MAIL_DEAD", "STREAM.TEMPLATE.CREATE.MINE", "DIRECT.GET.MAIL_DEAD." + canary.DeadSubject(),
		"DIRECT.GET.KV_POSTRIDER", "STREAM.PURGE.KV_POSTRIDER", "STREAM.MSG.GET.KV_POSTRIDER",
	} {
		all = append(all, api+s)
	}
	for _, stream := range []string{wire.StreamDead, normal.SendStream()} {
		for _, s := range []string{
			"STREAM.UPDATE", "STREAM.INFO", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "DIRECT.GET", "STREAM.SNAPSHOT",
			"STREAM.RESTORE", "STREAM.PEER.REMOVE", "STREAM.LEADER.STEPDOWN", "CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST",
		} {
			all = append(all, api+s+"."+stream)
		}
		for _, s := range []string{"CREATE", "DURABLE.CREATE", "INFO", "DELETE", "PAUSE", "UNPIN", "RESET", "MSG.NEXT", "LEADER.STEPDOWN"} {
			all = append(all, api+"CONSUMER."+s+"."+stream+".fresh")
		}
	}
	return all
}

// forbiddenSubscriptions would read mail, answer for a lane, or listen to what
// workers and operators are told.
var forbiddenSubscriptions = []string{
	">", "*", "*.>", "*.*.*", "mail.>", "mail.send.*", "mail.send.normal", "mail.send.>", "mail.*.*", "mail.dead.>", "mail.record.>", "mail.event.>", "mail.nolane.x",
	"$JS.>", "$JS.API.>", "$JS.EVENT.>", "$JS.ACK.>", "$SYS.>", "$SRV.>", "$KV.>", "$O.>", "_R_.>", "_GR_.>", "_INBOX_worker.>", "_INBOX_operator.>", "_INBOX*.>", "_INBOX",
}

// headerAttempt is a set of NATS headers on an otherwise good mail, and the broker's
// error code; 0 if the mail is accepted, with no further effect, and silent if it
// is not accepted and there is no answer.
type headerAttempt struct {
	header nats.Header
	code   int
}

const silent = -1

func headerAttempts() []headerAttempt {
	one := func(name, value string) nats.Header { return nats.Header{name: {value}} }
	return []headerAttempt{
		{one("Nats-Rollup", "all"), 10111},
		{one("Nats-Rollup", "sub"), 10111},
		{one("nats-rollup", "all"), 0},
		{one("Nats-TTL", "1s"), 10166},
		{one("Nats-Schedule", "@at 2030-01-01T00:00:00Z"), 10188},
		{nats.Header{"Nats-Schedule": {"@at 2000-01-01T00:00:00Z"}, "Nats-Schedule-Target": {canary.CopySubject(wire.CopyDue)}}, 10188},
		{nats.Header{"Nats-Scheduler": {canary.CopySubject(wire.CopyLater)}, "Nats-Schedule-Next": {"purge"}}, 10188},
		{one("Nats-Expected-Stream", "MAIL_DEAD"), 10060},
		{one("Nats-Expected-Last-Sequence", "99"), 10071},
		{one("Nats-Expected-Last-Subject-Sequence", "99"), 10071},
		{nats.Header{"Nats-Expected-Last-Subject-Sequence": {"0"}, "Nats-Expected-Last-Subject-Sequence-Subject": {canary.DeadSubject()}}, 0},
		{one("Nats-Expected-Last-Msg-Id", "other"), 10070},
		{nats.Header{"Nats-Batch-Id": {"b"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}}, 0},
		{nats.Header{"Nats-Batch-Id": {"c"}, "Nats-Batch-Sequence": {"2"}, "Nats-Batch-Commit": {"1"}}, 10176},
		{nats.Header{"Nats-Batch-Id": {"d"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}, "Nats-Rollup": {"all"}}, 10111},
		{nats.Header{"Nats-Batch-Id": {"e"}, "Nats-Batch-Sequence": {"1"}, "Nats-Batch-Commit": {"1"}, "Nats-Schedule": {"@at 2030-01-01T00:00:00Z"}}, 10188},
		{one("Nats-Incr", "+1"), 10168},
		{one("Nats-Required-Api-Level", "99"), 0},
		{one("Nats-Marker-Reason", "Remove"), 0},
		{one("Nats-Stream-Source", "MAIL_DEAD 1 > >"), 10227},
		{one("Nats-Request-Info", `{"acc":"MAIL"}`), 0},
		{one("Nats-Trace-Dest", canary.DeadSubject()), silent},
		{one("Nats-Trace-Dest", "_INBOX.x"), silent},
		{one("Nats-Trace-Only", "true"), 0},
		{one("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), 0},
		{one("Status", "409"), 0},
		{one("Postrider-Origin", "1-1"), 0},
		{one("Postrider-Marker", "replayed"), 0},
	}
}

func TestProducerCanDoNothingElse(t *testing.T) {
	t.Parallel()
	g := guard(t)
	key, err := nats.NkeyOptionFromSeed(g.Embedded.ProducerFile())
	if err != nil {
		t.Fatal(err)
	}
	for who, a := range map[string]*attacker{"without a credential": g.attacker(), "with the producer's": g.attacker(key)} {
		t.Run(who, func(t *testing.T) {
			for _, s := range forbiddenSubjects() {
				if err := a.PublishRequest(s, "_INBOX.x", []byte(`{}`)); err != nil {
					if !errors.Is(err, nats.ErrBadSubject) {
						t.Errorf("publish to %s: %v", s, err)
					}
					continue
				}
				a.awaitRefusal(t, `Publish to "`+s+`"`)
			}
			for _, s := range forbiddenSubscriptions {
				a.subscribes(t, s, "")
				a.subscribes(t, s, "queue")
			}
			a.nowhere(t)
			a.headers(t, g)
			a.replies(t, g)
		})
	}
	g.unharmed()
}

// subscribes expects that it may not.
func (a *attacker) subscribes(t *testing.T, subject, queue string) {
	t.Helper()
	if _, err := a.QueueSubscribeSync(subject, queue); err != nil {
		if !errors.Is(err, nats.ErrBadSubject) && !errors.Is(err, nats.ErrBadQueueName) {
			t.Errorf("subscribe to %s: %v", subject, err)
		}
		return
	}
	a.awaitRefusal(t, `Subscription to "`+subject+`"`)
}

// nowhere: a lane that is not there, and a subject with wildcards, go nowhere.
func (a *attacker) nowhere(t *testing.T) {
	t.Helper()
	for _, s := range []string{"mail.send.nolane", "mail.send.NORMAL", "mail.send.*", "mail.send.$JS"} {
		r, err := a.RequestWithContext(natstest.Within(t), s, []byte("planted"))
		if !errors.Is(err, nats.ErrNoResponders) && !errors.Is(err, nats.ErrBadSubject) {
			t.Errorf("a request on %s: %v, %v", s, r, err)
		}
	}
}

func (a *attacker) headers(t *testing.T, g *guarded) {
	t.Helper()
	for _, h := range headerAttempts() {
		m := &nats.Msg{Subject: bulk.SendSubject(), Header: h.header, Data: []byte("x")}
		ctx, cancel := natstest.Within(t), context.CancelFunc(func() {})
		if h.code == silent {
			ctx, cancel = natstest.Briefly(t)
		}
		r, err := a.RequestMsgWithContext(ctx, m)
		cancel()
		var said struct {
			Error struct {
				Code int `json:"err_code"`
			} `json:"error"`
		}
		if err == nil {
			err = json.Unmarshal(r.Data, &said)
		}
		if h.code == silent != errors.Is(err, context.DeadlineExceeded) || err != nil && h.code != silent || h.code != silent && said.Error.Code != h.code {
			t.Errorf("%v: %v, %+v; want %d", h.header, err, said, h.code)
		}
		if h.code == 0 {
			g.stored[bulk]++
		}
	}
}

// reserved are the reply subjects that the broker accepts from no client.
var reserved = regexp.MustCompile(`^(\$JS\.ACK|_R_|_GR_)\.`)

// replies: the server writes its PubAck to the reply subject, in the producers'
// own account, where only other producers listen.
func (a *attacker) replies(t *testing.T, g *guarded) {
	t.Helper()
	for _, s := range append(forbiddenSubjects(), normal.SendSubject()) {
		err := a.PublishMsg(&nats.Msg{Subject: normal.SendSubject(), Reply: s, Data: []byte("x")})
		if errors.Is(err, nats.ErrBadSubject) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if reserved.MatchString(s) {
			a.awaitRefusal(t, `Publish with Reply of "`+s+`"`)
			continue
		}
		g.stored[normal]++
	}
	if err := a.FlushWithContext(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
}

// awaitRefusal waits for the server's word on a subject.
func (a *attacker) awaitRefusal(t *testing.T, what string) {
	t.Helper()
	for {
		select {
		case err := <-a.refused:
			if strings.Contains(err.Error(), what) {
				return
			}
		case <-natstest.Within(t).Done():
			t.Fatalf("no permissions violation for %s", what)
		}
	}
}
