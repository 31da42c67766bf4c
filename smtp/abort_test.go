package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
)

// TestAbort: a message that we gave up does not reach the relay afterwards. What had not
// left when the relay fell silent would arrive, final dot and all, once it reads again.
func TestAbort(t *testing.T) {
	t.Parallel()
	ca := smtptest.NewAuthority(t)
	for name, opts := range map[string][]smtptest.Option{"clear": nil, "tls": {smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reads := make(chan struct{})
			server := smtptest.New(t, append(opts, smtptest.On("BODY", smtptest.Answer{Until: reads}))...)
			b := newBundle(t, server, func(c *Config) { c.Timeouts.Dot = 100 * time.Millisecond; c.CAFile = ca.File() })
			b.wantClasses(t, mailWith("Subject: large\r\n\r\n"+strings.Repeat("more than waits at the relay's end\r\n", 15000)), "uncertain")
			close(reads)
			testrun.Eventually(t, "the relay sees the end of the session", 10*time.Second, func() bool { return server.Open() == 0 })
			if n := server.Accepted(); n != 0 {
				t.Errorf("the relay accepted %d messages after we gave up", n)
			}
		})
	}
}

// TestSlowQuit: a relay that is slow to answer QUIT sees the session end in the usual way.
func TestSlowQuit(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			ended <- err
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		for _, say := range []string{"220 relay.test", "250 relay.test"} {
			if _, err = fmt.Fprintf(conn, "%s\r\n", say); err == nil {
				_, err = r.ReadString('\n')
			}
		}
		if err == nil { // QUIT is not answered
			_, err = r.ReadString('\n')
		}
		ended <- err
	}()
	c := DefaultConfig()
	c.URL = "smtp://" + l.Addr().String() + "?tls=none"
	r, err := New(c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	r.Look()
	testrun.Eventually(t, "a session is idle", 10*time.Second, func() bool { _, idle := r.pool.count(); return idle == 1 })
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the relay sees %v", err)
	}
}
