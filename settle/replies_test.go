package settle_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/wire"
)

// moody is a relay that misbehaves once in every way at every step, and behaves
// from then on. What it does in a transaction goes by the sender's address,
// such as rcpt-silence@example.com; what it does to a session comes one after
// the other.
type moody struct {
	mu sync.Mutex
	// moods are those still to come, by step.
	moods map[string][]string
	// dots are the messages that came to their final dot, by sender.
	dots map[string][][]byte
}

// ways are all in which it misbehaves: with a reply, or without.
func ways() []string {
	all := []string{"4YZ", "5YZ", "421"}
	for way := range smtptest.NoReply("") {
		all = append(all, way)
	}
	slices.Sort(all)
	return all
}

var (
	sessionSteps     = []string{"CONNECT", "EHLO", "STARTTLS", "AUTH", "RSET", "QUIT"}
	transactionSteps = []string{"MAIL", "RCPT", "DATA", "BODY", "DOT"}
)

func newMoody() *moody {
	m := &moody{moods: map[string][]string{}, dots: map[string][][]byte{}}
	for _, step := range sessionSteps {
		m.moods[step] = ways()
	}
	for _, step := range transactionSteps {
		for _, way := range ways() {
			m.moods[sender(step, way)] = []string{way}
		}
	}
	return m
}

func sender(step, way string) string { return strings.ToLower(step+"-"+way) + "@example.com" }

func (m *moody) script(st smtptest.Step) *smtptest.Answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	if st.Verb == "DOT" {
		m.dots[st.From] = append(m.dots[st.From], bytes.Clone(st.Data))
	}
	key := st.Verb
	if slices.Contains(transactionSteps, st.Verb) {
		key = st.From
		if !strings.HasPrefix(key, strings.ToLower(st.Verb)+"-") {
			return nil
		}
	}
	if len(m.moods[key]) == 0 {
		return nil
	}
	way := m.moods[key][0]
	m.moods[key] = m.moods[key][1:]
	a, ok := smtptest.NoReply(smtptest.Yes(st.Verb))[way]
	if !ok {
		a.Reply = map[string]string{"4YZ": "451 4.3.0 later", "5YZ": "554 5.3.0 never at " + st.Verb, "421": "421 4.3.2 closing"}[way]
		a.HangUp = way == "421"
	}
	// Whoever speaks in the middle of our data hears no more of it.
	a.HangUp = a.HangUp || st.Verb == "BODY" && !a.Stall
	return &a
}

// left is what has not come about yet.
func (m *moody) left() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var left strings.Builder
	for step, ways := range m.moods {
		if len(ways) > 0 {
			fmt.Fprintln(&left, step, ways)
		}
	}
	return left.String()
}

// moodyRelay is a relay of the worker's at m, with little patience.
func moodyRelay(b *bench, m *moody) *smtp.Relay {
	ca := smtptest.NewAuthority(b.T)
	server := smtptest.New(b.T, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false), smtptest.Auth("user", "secret"), smtptest.Scripted(m.script))
	cfg := smtp.DefaultConfig()
	cfg.URL, cfg.CAFile, cfg.Username, cfg.Password = server.URL(), ca.File(), "user", "secret"
	cfg.MaxSessions, cfg.MessagesPerSession = 8, 3
	cfg.PauseMin, cfg.PauseMax = 10*time.Millisecond, 50*time.Millisecond
	// Before DATA it costs nothing to give up on a relay that is only slow.
	const short, long = 200 * time.Millisecond, 2 * time.Second
	t := &cfg.Timeouts
	t.Connect, t.Command, t.Data, t.Dot = short, short, long, long
	relay, err := smtp.New(cfg, discard(), nil)
	if err != nil {
		b.T.Fatal(err)
	}
	b.T.Cleanup(func() { _ = relay.Close(b.T.Context()) })
	return relay
}

// TestMisbehavesThenBehaves: whatever a relay did at whatever step, once it
// behaves each mail is accepted once, or dead if it was refused for good.
// Only what got no reply to its final dot comes to the relay twice, the same
// both times, and is called uncertain by the record.
func TestMisbehavesThenBehaves(t *testing.T) {
	t.Parallel()
	b := &bench{wb.With(t, 30*time.Second)}
	b.Config.Slots = 8
	m := newMoody()
	w := b.Worker(nil)
	reg := w.Registry
	relay := moodyRelay(b, m)
	w.Settle.Relay, w.Consumer.Gate.Relay = relay, relay
	b.Run(b.Make(w), nil)
	nc := b.Broker.Producer(t)
	send := func(id, from string) {
		body := fmt.Sprintf(`{"id":%q,"from":%q,"to":["ann@example.net"],"text":"hi"}`, id, from)
		b.produce(nc, nats.Header{}, []byte(body))
	}
	for _, step := range transactionSteps {
		for _, way := range ways() {
			send(step+"-"+way, sender(step, way))
		}
	}
	n := 0
	b.Eventually("it has misbehaved in every way at every step", func() bool {
		if b.Queued() < uint64(b.Config.Slots) {
			// More sessions, and refusals that RSET follows.
			m.mu.Lock()
			m.moods[fmt.Sprintf("rcpt-more%d@example.com", n)] = []string{"4YZ"}
			m.mu.Unlock()
			send(fmt.Sprintf("more%d", n), fmt.Sprintf("rcpt-more%d@example.com", n))
			n++
		}
		return m.left() == ""
	})
	b.Settled()
	dead := map[string]bool{}
	for _, l := range b.Dead() {
		dead[l.Key.ID] = true
	}
	uncertain := 0
	for _, step := range transactionSteps {
		for _, way := range ways() {
			if m.check(t, step, way, dead[step+"-"+way]) {
				b.wantUncertain(step + "-" + way)
				uncertain++
			}
		}
	}
	for i := range n {
		if got := len(m.dots[fmt.Sprintf("rcpt-more%d@example.com", i)]); got != 1 {
			t.Errorf("more%d came %d times to its dot", i, got)
		}
	}
	if got := countedAs(t, reg, mail.Uncertain); got < uncertain {
		t.Errorf("%d counted as uncertain, want %d", got, uncertain)
	}
}

// check holds what came of a mail against the rule, and reports whether it was
// bound to be uncertain.
func (m *moody) check(t *testing.T, step, way string, dead bool) (uncertain bool) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	dots := m.dots[sender(step, way)]
	_, noReply := smtptest.NoReply("")[way]
	want := 1 // the last one was answered
	switch {
	case step == "DOT" && way != "5YZ":
		want = 2
	case way == "5YZ" && step != "DOT":
		want = 0
	}
	if len(dots) != want || dead != (way == "5YZ") {
		t.Errorf("%s %s: the dot came %d times, want %d; dead %v", step, way, len(dots), want, dead)
	}
	for _, data := range dots {
		if !bytes.Equal(data, dots[0]) || !bytes.Contains(data, []byte("\r\nMessage-ID: <")) {
			t.Errorf("%s %s: sent as\n%s\nand as\n%s", step, way, dots[0], data)
		}
	}
	return step == "DOT" && noReply
}

// wantUncertain wants the records to name the attempt that got no reply.
func (b *bench) wantUncertain(id string) {
	b.T.Helper()
	records, err := journal.New(b.Store).Records(b.T.Context(), id)
	if err != nil {
		b.T.Fatal(err)
	}
	var events []wire.Event
	for _, r := range records {
		events = append(events, r.Event)
	}
	if !slices.Equal(events, []wire.Event{wire.EventUncertain, wire.EventDelivered}) {
		b.T.Errorf("%s: the records are %v", id, events)
	}
}

// countedAs is the metric of outcomes.
func countedAs(t *testing.T, reg *prometheus.Registry, class mail.Class) (n int) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, x := range f.GetMetric() {
			if f.GetName() == "postrider_recipient_outcomes_total" && x.GetLabel()[0].GetValue() == string(class) {
				n += int(x.GetCounter().GetValue())
			}
		}
	}
	return n
}

// TestUncertainBesideDeferred: a record is named by what may have doubled,
// whichever recipient that is, and tells each recipient's own fate.
func TestUncertainBesideDeferred(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.Work(nil)
	for id, to := range map[string][]string{
		"before": {"lost@example.net", "451x1@example.net"},
		"behind": {"452x1@example.net", "lost@example.org"},
	} {
		b.Publish(id, to...)
	}
	b.Settled()
	for id, want := range map[string][]wire.Event{
		"before": {wire.EventUncertain, wire.EventDeferred},
		"behind": {wire.EventDeferred, wire.EventUncertain},
	} {
		records, err := journal.New(b.Store).Records(t.Context(), id)
		if err != nil || len(records) == 0 {
			t.Fatal(err)
		}
		first := records[0]
		if first.Event != wire.EventUncertain {
			t.Errorf("%s: the record is %s", id, first.Event)
		}
		for i, event := range want {
			if got := first.Waits(i); got != event {
				t.Errorf("%s: recipient %d is %s, want %s", id, i, got, event)
			}
		}
	}
}
