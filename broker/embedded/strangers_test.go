package embedded_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

// What a client may say to the broker's port without a library: other protocols,
// other credentials, and what no library would write.

const plain = "CONNECT {\"verbose\":false,\"headers\":true}\r\n"

// strangers are what a stranger says, and a part of what the broker answers. If
// that begins with "!", the connection must end too.
var strangers = []struct{ says, want string }{
	// A web page can make a browser say this to a port of its own machine.
	{"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 27\r\n\r\nPUB mail.send.normal 1\r\nx\r\n", "!Authorization Violation"},
	{"PUT / HTTP/1.1\r\n\r\nPUB mail.send.normal 1\r\nx\r\n", "!Authorization Violation"},
	{"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "!Authorization Violation"},
	{"GET /varz HTTP/1.0\r\n\r\n", "!Authorization Violation"},
	{"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03abc", "!Authorization Violation"},
	{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "!Authorization Violation"},
	{"EHLO client.test\r\n", "!Authorization Violation"},
	// What servers say to each other.
	{plain + "RS+ MAIL mail.dead.>\r\n", "!Unknown Protocol"},
	{plain + "LS+ mail.dead.>\r\n", "!Unknown Protocol"},
	{plain + "LMSG mail.dead.normal.a.1-1.all 1\r\nx\r\n", "!Unknown Protocol"},
	{plain + "RMSG MAIL mail.dead.normal.a.1-1.all 1\r\nx\r\n", "!Unknown Protocol"},
	{plain + "A+ MAIL\r\n", "!Unknown Protocol"},
	{plain + "MSG mail.dead.normal.a.1-1.all 1 1\r\nx\r\n", "!Unknown Protocol"},
	// Other names for oneself.
	{"CONNECT {\"user\":\"MAIL\",\"pass\":\"x\"}\r\n", "!Authorization Violation"},
	{"CONNECT {\"user\":\"$SYS\",\"pass\":\"\"}\r\n", "!Authorization Violation"},
	{"CONNECT {\"auth_token\":\"x\"}\r\n", "!Authorization Violation"},
	{"CONNECT {\"jwt\":\"eyJ0eXAiOiJKV1QifQ.e30.x\"}\r\nPUB mail.dead.normal.a.1-1.all 1\r\nx\r\n", "Permissions Violation"},
	{"CONNECT {\"nkey\":\"OPERATOR\",\"sig\":\"AAAA\"}\r\n", "!Authorization Violation"},
	{"CONNECT {\"nkey\":\"OPERATOR\"}\r\n", "!Authorization Violation"},
	{"CONNECT {\"account\":\"MAIL\",\"new_account\":true}\r\nPUB mail.dead.normal.a.1-1.all 1\r\nx\r\n", "!Authorization Violation"},
	{"CONNECT {\"lang\":\"go\",\"protocol\":1,\"echo\":false,\"kind\":1,\"import\":{\"allow\":[\">\"]},\"export\":{\"allow\":[\">\"]}}\r\nSUB mail.> 1\r\n", "Permissions Violation"},
	{"CONNECT {\"headers\":false}\r\nHPUB mail.send.normal 12 12\r\nNATS/1.0\r\n\r\n\r\n", "!"},
	{plain + plain + "PUB mail.dead.normal.a.1-1.all 1\r\nx\r\n", "Permissions Violation"},
	{"PUB mail.dead.normal.a.1-1.all 1\r\nx\r\n", "!Authorization Violation"},
	{"SUB mail.send.normal 1\r\n", "!Authorization Violation"},
	{"CONNECT {\"tls_required\":true,\"pedantic\":true}\r\nSUB mail.*.> q 1\r\n", "Permissions Violation"},
	// Sizes and subjects.
	{plain + "PUB mail.send.normal 99999999999999999999\r\nx\r\n", "!"},
	{plain + "PUB mail.send.normal -1\r\nx\r\n", "!"},
	{plain + "PUB mail.send.normal x\r\nx\r\n", "!"},
	{plain + "PUB mail.send.normal 8388609\r\n", "!Maximum Payload Violation"},
	{plain + "HPUB mail.send.normal 99 12\r\nNATS/1.0\r\n\r\n\r\n", "!"},
	{plain + "HPUB mail.send.normal -1 12\r\nNATS/1.0\r\n\r\n\r\n", "!"},
	{plain + "HPUB mail.send.normal 70000 70001\r\nNATS/1.0\r\nX: " + strings.Repeat("x", 70_000-17) + "\r\n\r\nx\r\n", "PONG"},
	{plain + "PUB " + strings.Repeat("x.", 2100) + "x 1\r\nx\r\n", "!maximum control line"},
	{plain + "PUB mail.send.normal 1\r\nxx\r\n", "!Unknown Protocol"},
	{plain + "PUB mail.dead.normal.a.1-1.all\tmail.send.normal 1\r\nx\r\n", "Permissions Violation"},
	{plain + "PUB mail.send.normal\x00.x 1\r\nx\r\n", "PONG"},
	{plain + "PUB mail.send.\r\n", "!"},
	{plain + "SUB _INBOX.x\x00 1\r\n", "PONG"},
	{plain + "SUB mail.send.normal\x00 1\r\n", "PONG"},
}

func TestStrangers(t *testing.T) {
	t.Parallel()
	g := guard(t)
	u, err := url.Parse(g.Config.URL)
	if err != nil {
		t.Fatal(err)
	}
	_, operator, _ := strings.Cut(g.Conn.NC().ConnectedServerName(), "-")
	for _, c := range strangers {
		said, err := converse(u.Host, strings.ReplaceAll(c.says, "OPERATOR", operator))
		want, ends := strings.CutPrefix(c.want, "!")
		if ends != (err != nil) || !strings.Contains(said, want) {
			t.Errorf("%.120q is answered %q, %v; want %q", c.says, said, err, c.want)
		}
		if strings.Contains(said, "MSG ") {
			t.Errorf("%.120q is told %q", c.says, said)
		}
	}
	g.unharmed()
}

// converse says it, asks for a sign of life, and gives what was answered behind
// the greeting. The error is that the connection ended without one.
func converse(addr, says string) (string, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	if _, err := r.ReadString('\n'); err != nil {
		return "", err
	}
	// What the broker does not read any more it may reset.
	_, _ = io.WriteString(conn, says+"PING\r\n")
	var said strings.Builder
	for {
		line, err := r.ReadString('\n')
		said.WriteString(line)
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				return said.String() + "(silence)", nil
			}
			return said.String(), err
		}
		if line == "PONG\r\n" {
			return said.String(), nil
		}
	}
}

// outside are this machine's own addresses that it calls others from, of both
// families. (Those of a container engine's networks come and go.)
func outside() (all []net.IP) {
	for _, elsewhere := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} { // RFC 5737, RFC 3849
		// Nothing is sent: connecting only chooses the address.
		if c, err := net.Dial("udp", elsewhere); err == nil {
			all = append(all, c.LocalAddr().(*net.UDPAddr).IP)
			c.Close()
		}
	}
	return all
}

// TestBeyondThisMachine: on an address that other machines reach, publishing needs
// the producer's credential, also from this machine, and that credential allows
// nothing else.
func TestBeyondThisMachine(t *testing.T) {
	t.Parallel()
	addresses := outside()
	if len(addresses) == 0 {
		t.Skip("this machine has no address but loopback")
	}
	listens := []string{"0.0.0.0:0", "[::]:0", ":0"}
	for _, ip := range addresses {
		listens = append(listens, net.JoinHostPort(ip.String(), "0"))
	}
	for _, listen := range listens {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			cfg := natstest.EmbeddedConfig(t)
			cfg.Listen = listen
			e, c := natstest.StartEmbedded(t, cfg, normal)
			if _, err := broker.Provision(natstest.Within(t), c, []wire.Lane{normal}, cfg); err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(e.URL())
			if err != nil {
				t.Fatal(err)
			}
			host, _, _ := net.SplitHostPort(listen)
			reached := 0
			for _, ip := range append(addresses, net.IPv4(127, 0, 0, 1), net.IPv6loopback) {
				addr := net.JoinHostPort(ip.String(), u.Port())
				if probe, err := net.DialTimeout("tcp", addr, 5*time.Second); err != nil {
					continue // it listens on other addresses
				} else {
					probe.Close()
				}
				reached++
				checkCredentials(t, e, addr)
			}
			if all := host == "" || net.ParseIP(host).IsUnspecified(); reached == 0 || all && reached < 2 {
				t.Errorf("reached at %d addresses only", reached)
			}
			if n := counts(t, c)[normal.SendStream()]; n != fmt.Sprint(reached, reached, 1) {
				t.Errorf("the lane has %s, want %d", n, reached)
			}
		})
	}
}

// checkCredentials publishes one mail, with the producer's credential.
func checkCredentials(t *testing.T, e *embedded.Server, addr string) {
	t.Helper()
	for _, says := range []string{
		"PUB mail.send.normal 1\r\nx\r\n", plain + "PUB mail.send.normal 1\r\nx\r\n", "CONNECT {}\r\nSUB _INBOX.> 1\r\n", "CONNECT {\"nkey\":\"\",\"sig\":\"\"}\r\n",
		"CONNECT {\"user\":\"\",\"pass\":\"\"}\r\n",
	} {
		if said, err := converse(addr, says); err == nil || !strings.Contains(said, "Authorization Violation") {
			t.Errorf("%s: %q without a credential: %q, %v", addr, says, said, err)
		}
	}
	if nc, err := nats.Connect("nats://" + addr); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("%s: connected without a credential: %v", addr, err)
		nc.Close()
	}
	key, err := nats.NkeyOptionFromSeed(e.ProducerFile())
	if err != nil {
		t.Fatal(err)
	}
	a := &attacker{refused: make(chan error, 100)}
	a.Conn, err = nats.Connect("nats://"+addr, key, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { a.refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.RequestWithContext(natstest.Within(t), normal.SendSubject(), []byte("x")); err != nil {
		t.Errorf("%s: %v", addr, err)
	}
	if err := a.PublishRequest("$JS.API.INFO", "_INBOX.x", nil); err != nil {
		t.Error(err)
	}
	a.awaitRefusal(t, `Publish to "$JS.API.INFO"`)
	a.subscribes(t, "mail.>", "")
}
