package e2e

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/testrun"
)

// TestLoadOperator: beside a full queue each command of postrider answers within a
// second. Its log has the figures.
func TestLoadOperator(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t, "POSTRIDER_RETRY_AFTER=1h", "POSTRIDER_LOG_MAIL=failures")
	p := w.worker("worker")
	nc, err := nats.Connect("nats://"+w.get("NATS_LISTEN"), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for i := range 250 {
		to := "550"
		if i >= 50 {
			to = "451"
		}
		body := fmt.Sprintf(`{"id":"x%d","from":"a%d@example.com","to":["%s@example.net"],"text":"hi"}`, i, i, to)
		if _, err := nc.Request("mail.send.normal", []byte(body), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	testrun.Eventually(w.t, "200 are deferred and 50 dead", time.Minute, func() bool {
		out := read(t, p.Out)
		return strings.Count(out, "deferred   x") == 200 && strings.Count(out, "dead       x") == 50
	})
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The same directory, and a relay that is down: what is published waits.
	w.set("SMTP_URL", "smtp://127.0.0.1:9?tls=none")
	w.worker("again")
	w.publishMany(scale.operatorMails, 1<<10, "ann@example.net")
	for _, c := range []struct {
		args, want string
	}{
		{"status", fmt.Sprintf("%d", scale.operatorMails%1000)},
		{"status --json", `"scheduled":200,"dead":50`},
		{"show x60", "next attempt at"},
		{"show x3", "postrider dead replay x3"},
		{fmt.Sprintf("show m%d", scale.operatorMails), "no worker has taken it yet"},
		{"show normal/300", "no worker has taken it yet"},
		{"events --event failed", "failed     normal  x0"},
		{"events --to 451@example.net", "deferred   normal"},
		{"dead list", "x49\t550@example.net"},
		{"dead show x7", "550 5.1.1"},
		{"dead replay --reason failed --dry-run", "would be replayed: x49"},
		{"dead discard --reason failed", "discarded x49"},
	} {
		began := time.Now()
		out, stderr, status := w.run("postrider", strings.Fields(c.args)...)
		took := time.Since(began)
		t.Logf("postrider %-40s %4d ms", c.args, took.Milliseconds())
		if status != 0 || !strings.Contains(out, c.want) {
			t.Errorf("postrider %s: status %d, no %q in\n%.2000s%s", c.args, status, c.want, out, stderr)
		}
		if took > scale.operatorWithin {
			t.Errorf("postrider %s took %s", c.args, took)
		}
	}
}
