package e2e

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// peakMemory is the most that a process has had in memory, in bytes.
func peakMemory(t *testing.T, p *storm.Process) int64 {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(p.Cmd.Process.Pid) + "/status")
	if err != nil {
		t.Skipf("no peak of memory: %v", err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(b)
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// TestLargeMails: a worker with many sessions and large mail is not thrown out by the
// broker, takes no mail twice, and stays within its memory.
func TestLargeMails(t *testing.T) {
	testrun.Beside(t)
	const bytes, most = 7300 << 10, 256 << 20
	mails := testrun.Pick(12, 60)
	w := newWorld(t, "SMTP_URL=smtp://127.0.0.1:9?tls=none")
	w.worker("broker") // its relay is away
	w.publishMany(mails, bytes, "ann@example.net")
	url, _ := w.relay("relay", "-book", w.path("book"), "-delay", "500ms")
	w.set("SMTP_URL", url)
	w.set("SMTP_MAX_SESSIONS", "40")
	w.set("GOMEMLIMIT", "512MiB")
	w.set("NATS_URL", "nats://"+w.get("NATS_LISTEN"))
	sender := w.start("sender", "worker")
	testrun.Eventually(t, "all are accepted", 3*time.Minute, w.allIn(mails, "book", "ann@example.net"))
	if twice := w.report(mails, "book", "ann@example.net"); len(twice) > 0 {
		t.Errorf("sent twice: %v", twice)
	}
	if said, _ := os.ReadFile(sender.Err); strings.Contains(string(said), "connection to the broker lost") {
		t.Errorf("it was thrown out:\n%s", said)
	}
	peak := peakMemory(t, sender)
	t.Logf("mails=%d bytes=%d sessions=40 peak=%d MiB", mails, bytes, peak>>20)
	if peak > most {
		t.Errorf("it took %d MiB of memory, want at most %d", peak>>20, most>>20)
	}
}
