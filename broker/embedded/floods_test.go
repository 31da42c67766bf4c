package embedded_test

import (
	"bufio"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
)

// What a client can do with much of what it may do. Its neighbours go on.

// flood is one connection that has said CONNECT.
type flood struct {
	net.Conn
	w *bufio.Writer
	r *bufio.Reader
}

func (g *guarded) flood() *flood {
	g.t.Helper()
	u, err := url.Parse(g.Config.URL)
	if err != nil {
		g.t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		g.t.Fatal(err)
	}
	f := &flood{conn, bufio.NewWriterSize(conn, 1<<16), bufio.NewReader(conn)}
	fmt.Fprint(f.w, plain)
	return f
}

// answer asks for a sign of life and gives what came before it, or before the end.
func (f *flood) answer() string {
	fmt.Fprint(f.w, "PING\r\n")
	_ = f.w.Flush() // what the broker does not read any more it may reset
	var said strings.Builder
	for {
		line, err := f.r.ReadString('\n')
		if err != nil || line == "PONG\r\n" {
			return said.String()
		}
		said.WriteString(line)
	}
}

// served holds that another producer's mail is taken.
func (g *guarded) served() {
	g.t.Helper()
	nc := g.Producer(g.t)
	defer nc.Close()
	if _, err := nc.RequestWithContext(natstest.Within(g.t), normal.SendSubject(), []byte("x")); err != nil {
		g.t.Errorf("a neighbour's publish: %v", err)
	}
	g.stored[normal]++
}

func TestFloodOfSubscriptions(t *testing.T) {
	t.Parallel()
	g := guard(t)
	f := g.flood()
	for i := range 100_000 {
		fmt.Fprintf(f.w, "SUB _INBOX.%d %d\r\n", i, i)
	}
	if said := f.answer(); !strings.Contains(said, "maximum subscriptions exceeded") {
		t.Errorf("100,000 subscriptions are answered %.200q", said)
	}
	g.served()
	g.unharmed()
}

func TestFloodOfConnections(t *testing.T) {
	t.Parallel()
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 10_000 {
		t.Skipf("it takes 10,000 open files, and %d are allowed: %v", files.Cur, err)
	}
	g := guard(t)
	refused := "" // the last one
	for range 4_001 {
		f := g.flood()
		refused = f.answer()
	}
	if !strings.Contains(refused, "maximum account active connections exceeded") {
		t.Errorf("4,001 connections are answered %.200q", refused)
	}
	// Workers and operators have an account of their own.
	g.unharmed()
}

// TestFloodOfBytes: a payload above the limit ends the connection before it is
// read, and one that is never completed makes no other client wait.
func TestFloodOfBytes(t *testing.T) {
	t.Parallel()
	g := guard(t)
	f := g.flood()
	fmt.Fprintf(f.w, "PUB %s %d\r\n", normal.SendSubject(), 8<<20+1)
	for range 1 << 10 {
		fmt.Fprint(f.w, strings.Repeat("x", 1<<13))
	}
	if said := f.answer(); !strings.Contains(said, "Maximum Payload Violation") {
		t.Errorf("a payload of 8 MiB and a byte is answered %.200q", said)
	}
	half := g.flood()
	fmt.Fprintf(half.w, "PUB %s %d\r\nx", normal.SendSubject(), 8<<20)
	if err := half.w.Flush(); err != nil {
		t.Fatal(err)
	}
	g.served()
	g.unharmed()
}

// TestFloodOfBatches: batches that are huge, or opened and never ended, store
// nothing and keep no single publish waiting. After ten seconds without a message
// an open batch is dropped, and batches are taken again.
func TestFloodOfBatches(t *testing.T) {
	t.Parallel()
	g := guard(t)
	a := g.attacker()
	send := func(id string, n int, commit bool) string {
		t.Helper()
		m := nats.NewMsg(normal.SendSubject())
		m.Data = []byte("x")
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(n))
		if !commit {
			if err := a.PublishMsg(m); err != nil {
				t.Fatal(err)
			}
			return ""
		}
		m.Header.Set("Nats-Batch-Commit", "1")
		r, err := a.RequestMsgWithContext(natstest.Within(t), m)
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Data)
	}
	const huge = 1_500
	for n := 1; n < huge; n++ {
		send("huge", n, false)
	}
	if said := send("huge", huge, true); !strings.Contains(said, "10199") && !strings.Contains(said, "10176") {
		t.Errorf("a batch of %d messages is answered %s", huge, said)
	}
	for i := range 200 {
		for n := 1; n <= 5; n++ {
			send(fmt.Sprint("open", i), n, false)
		}
	}
	if said := send("more", 1, true); !strings.Contains(said, "10210") {
		t.Errorf("a batch beside 200 open ones is answered %s", said)
	}
	g.served()
	testrun.Eventually(t, "a batch is taken again", natstest.Timeout, func() bool {
		return strings.Contains(send("later", 1, true), `"batch"`)
	})
	g.stored[normal]++
	g.unharmed()
}

// TestSlowConsumer: a client that reads none of its answers.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	g := guard(t)
	f := g.flood()
	fmt.Fprint(f.w, "SUB _INBOX.slow 1\r\n")
	for range 200_000 {
		// Nobody answers for that lane, so each gets a word at once.
		fmt.Fprint(f.w, "PUB mail.send.nolane _INBOX.slow 1\r\nx\r\n")
	}
	if err := f.w.Flush(); err != nil {
		t.Fatal(err)
	}
	g.served()
	g.unharmed()
}

// TestProducersShareAnAccount holds what one producer can do to another to what
// docs/wire.md says: it hears acknowledgements, which say a stream and a number,
// and can have one for its own mail sent to the other. It reads no mail, and
// answers nothing by itself.
func TestProducersShareAnAccount(t *testing.T) {
	t.Parallel()
	g := guard(t)
	spy, victim := g.attacker(), g.attacker()
	heard, err := spy.SubscribeSync("_INBOX.>")
	if err != nil {
		t.Fatal(err)
	}
	if err := spy.FlushWithContext(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := victim.RequestWithContext(natstest.Within(t), normal.SendSubject(), []byte("secret")); err != nil {
		t.Fatal(err)
	}
	g.stored[normal]++
	m, err := heard.NextMsgWithContext(natstest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(m.Data); got != `{"stream":"MAIL_SEND_NORMAL","seq":1}` || len(m.Header) > 0 || m.Reply != "" {
		t.Errorf("it hears %q, %v, %q", got, m.Header, m.Reply)
	}
	if err := spy.Publish(m.Subject, []byte(`{"stream":"MAIL_SEND_NORMAL","seq":9}`)); err != nil {
		t.Fatal(err)
	}
	spy.awaitRefusal(t, `Publish to "`+m.Subject+`"`)
	inbox, err := victim.SubscribeSync(nats.NewInbox())
	if err != nil {
		t.Fatal(err)
	}
	if err := victim.FlushWithContext(natstest.Within(t)); err != nil {
		t.Fatal(err)
	}
	if err := spy.PublishRequest(normal.SendSubject(), inbox.Subject, []byte("mine")); err != nil {
		t.Fatal(err)
	}
	g.stored[normal]++
	if m, err = inbox.NextMsgWithContext(natstest.Within(t)); err != nil || string(m.Data) != `{"stream":"MAIL_SEND_NORMAL","seq":2}` {
		t.Errorf("the other hears %v, %v", m, err)
	}
	g.unharmed()
}
