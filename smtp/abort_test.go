package smtp

import (
	"strings"
	"testing"
	"time"

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
