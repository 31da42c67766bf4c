package settle_test

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// unreadable are headers that the broker stores and no client can read, or
// could write again.
var unreadable = []string{
	"NATS/1.0\r\nno field\r\n\r\n",
	"NATS/2.0\r\nX: y\r\n\r\n",
	"NATS/1.0\r\nContent-Type: message/rfc822\r\nMail-Send-At 2030-01-01T00:00:00Z\r\n\r\n",
	"NATS/1.0\r\nX y: z\r\n\r\n",
	"NATS/1.0\r\n Nats-Rollup: all\r\n\r\n",
	"NATS/1.0\r\nX\rNats-Rollup: all\r\n\r\n",
	"NATS/1.0\r\nX\u2028: y\r\n\r\n",
	"NATS/1.0\r\nX\x00: y\r\n\r\n",
	"NATS/1.0\r\nX: y\nPostrider-Hop: 1\r\n\r\n",
}

// TestUnreadableHeaders: a mail whose NATS headers cannot be read is not sent
// as if it had none, for they may say not to. One that could not be written
// again is buried all the same, and keeps no slot; and one that is
// stranded does not end the search for what is behind it.
func TestUnreadableHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := dialRaw(t, b.Broker.Config.URL)
	body := func(kind string, i int) string {
		return fmt.Sprintf(`{"id":"%s-%d","from":"a@example.com","to":["bob@example.net"],"text":"hi"}`, kind, i)
	}
	for i, h := range unreadable {
		s.publish(t, h, body("stranded", i))
	}
	b.Publish("behind", "ann@example.net")
	b.Exhaust()
	for i, h := range unreadable {
		s.publish(t, h, body("fresh", i))
	}
	b.Publish("neighbour", "ann@example.net")
	b.Work(nil)
	b.Settled()
	b.Accepted("neighbour", map[string]int{"ann@example.net": 1})
	if n := len(b.Relay.Accepted()); n != 1 {
		t.Errorf("%d mails were sent: %v", n, b.Relay.Accepted())
	}
	why := map[string]mail.Reason{}
	for _, l := range b.Dead() {
		why[string(l.Body)] = l.Reason
		if !strings.Contains(string(l.Body), "behind") && !strings.HasPrefix(l.Error, "header") {
			t.Errorf("%s: %s", l.Body, l.Error)
		}
	}
	for i, h := range unreadable {
		for _, kind := range []string{"stranded", "fresh"} {
			if got := why[body(kind, i)]; got != mail.ReasonBadEnvelope {
				t.Errorf("%s with headers %q: %q", kind, h, got)
			}
		}
	}
	if n := len(why); n != 2*len(unreadable)+1 {
		t.Errorf("%d dead letters: %v", n, why)
	}
}

// TestReplayUnwritableHeaders: a dead letter whose headers cannot be written again is
// not replayed by half, nor sent as if it had none if they were not read. It can be
// discarded.
func TestReplayUnwritableHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	s := dialRaw(t, b.Broker.Config.URL)
	bad := append([]string{"NATS/1.0\r\nX: " + strings.Repeat("x", schema.MaxProducerHeaders) + "\r\n\r\n"}, unreadable...)
	bad = bad[:len(bad)-1] // the last one is read, and forged
	for i, h := range bad {
		s.publish(t, h, fmt.Sprintf(`{"id":"m-%d","from":"a@example.com","to":["bob@example.net"],"text":"hi"}`, i))
	}
	b.Work(nil)
	b.Settled()
	dead := b.Dead()
	if len(dead) != len(bad) {
		t.Fatalf("%d dead letters", len(dead))
	}
	for _, l := range dead {
		if err := b.Graves.Replay(t.Context(), l, 5); err == nil || !strings.Contains(err.Error(), "publish the mail anew") {
			t.Errorf("replay %s: %v", l.Body, err)
		}
		if err := b.Graves.Discard(t.Context(), l); err != nil {
			t.Errorf("discard %s: %v", l.Body, err)
		}
	}
	if left := b.Dead(); len(left) > 0 || len(b.Relay.Accepted()) > 0 {
		t.Errorf("left %v, accepted %v", left, b.Relay.Accepted())
	}
}

// TestLineBreaksInHeaders: what no library writes, a bare CR or LF, ends no
// header but the producer's own, here and in the copies made of it.
func TestLineBreaksInHeaders(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith(smtptest.ByAddress())
	s := dialRaw(t, b.Broker.Config.URL)
	const form, deferred = "NATS/1.0\r\nContent-Type: message/rfc822\r\n", "Mail-To: 451x2@example.net\r\n"
	for i, c := range []struct {
		header string
		to     []string // nil: refused
	}{
		{form + "Mail-To: ann@example.net\rMail-To: evil@x.test\r\n", nil},
		{form + "Mail-From: ann@example.net\rRCPT TO:<evil@x.test>\r\n", nil},
		{form + "Mail-Tag: a\rb\r\n", nil},
		{form + "Nats-Msg-Id: a\rb\r\n", nil},
		{form + deferred + "X-Own: a\nPostrider-Hop: 9\r\n", nil},
		{form + deferred + "X-Own: a\nMail-Sendat: 9\r\n", nil},
		{form + "Mail-To: bob@example.net\nMail-To: ann@example.net\r\n", []string{"bob@example.net", "ann@example.net"}},
		{form + deferred + "X-Own: a\rPostrider-Hop: 9\rMail-To: evil@x.test\r\n", []string{"451x2@example.net"}},
		{form + deferred + "X-Own: a\nNats-Schedule-Target: mail.dead.normal.a.1-1.all\r\n", []string{"451x2@example.net"}},
		{form + deferred + "Mail-Meta-Key: a\rMail-Send-At: 2199-01-01T00:00:00Z\r\n", []string{"451x2@example.net"}},
	} {
		before := len(b.Dead())
		s.publish(t, c.header+"\r\n", fmt.Sprintf("From: s%d@example.com\r\nTo: to@example.net\r\n\r\nhi\r\n", i))
		b.Settled()
		var to []string
		for _, m := range server.Take() {
			to = append(to, m.Rcpts...)
		}
		dead := len(b.Dead()) - before
		if !slices.Equal(to, c.to) || dead == 1 != (c.to == nil) {
			t.Errorf("%q: sent to %v, %d dead; want %v", c.header, to, dead, c.to)
		}
	}
}

// rawConn speaks to the broker without a client library.
type rawConn struct {
	net.Conn
	r *bufio.Reader
}

func dialRaw(t *testing.T, url string) *rawConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &rawConn{conn, bufio.NewReader(conn)}
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	c.say(t, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB _INBOX.raw 1\r\n")
	return c
}

func (c *rawConn) say(t *testing.T, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// publish publishes with that block of headers and waits for the PubAck.
func (c *rawConn) publish(t *testing.T, header, body string) {
	t.Helper()
	c.say(t, fmt.Sprintf("HPUB %s _INBOX.raw %d %d\r\n%s%s\r\n", lane.SendSubject(), len(header), len(header)+len(body), header, body))
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			t.Fatalf("publish %q: %v", header, err)
		}
		switch {
		case strings.HasPrefix(line, "PING"):
			c.say(t, "PONG\r\n")
		case strings.HasPrefix(line, "-ERR"):
			t.Fatalf("publish %q: %s", header, line)
		case strings.HasPrefix(line, `{"stream"`):
			return
		case strings.HasPrefix(line, `{"error"`):
			t.Fatalf("publish %q: %s", header, line)
		}
	}
}
