package worker

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
)

// spoken is an output that can be read while it is written.
type spoken struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *spoken) Write(p []byte) (int, error) { s.mu.Lock(); defer s.mu.Unlock(); return s.b.Write(p) }

func (s *spoken) String() string { s.mu.Lock(); defer s.mu.Unlock(); return s.b.String() }

// TestTokenIsWithheld: in a URL a token takes the place of a user's name, and no
// output may show it.
func TestTokenIsWithheld(t *testing.T) {
	t.Parallel()
	const canary = "c4nary"
	url := natstest.StartServer(t, func(o *server.Options) { o.Authorization = canary })
	env := map[string]string{
		"NATS_URL": strings.Replace(url, "://", "://"+canary+"@", 1), "SMTP_URL": "smtp://127.0.0.1:9?tls=none",
		"POSTRIDER_DATA_DIR": t.TempDir(), "POSTRIDER_ADMIN": "127.0.0.1:0", "POSTRIDER_LOG_FORMAT": "text", "POSTRIDER_LOG_LEVEL": "debug", "POSTRIDER_DRAIN": "1s",
	}
	var out spoken
	if status := run(t.Context(), env, []string{"provision"}, &out, &out); status != cli.OK || !strings.Contains(out.String(), "is ready for the lanes") {
		t.Fatalf("status %d: %s", status, out.String())
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, env, nil, &out, &out) }()
	testrun.Eventually(t, "it starts", 30*time.Second, func() bool { return strings.Contains(out.String(), "Probes and metrics") }, out.String)
	if strings.Contains(out.String(), "Publish a mail") {
		t.Errorf("says how to publish, with a credential that need not be let do so:\n%s", out.String())
	}
	stop()
	if status := <-ended; status != cli.OK {
		t.Errorf("status %d", status)
	}
	if strings.Contains(out.String(), canary) {
		t.Errorf("tells the token:\n%s", out.String())
	}
}
