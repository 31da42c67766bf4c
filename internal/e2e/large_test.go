package e2e

import (
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/wire"
)

const (
	largeBytes  = 7300 << 10
	mostMemory  = 256 << 20
	hundredMbit = 100_000_000 / 8
)

// TestLargeMails: a worker with many sessions and large mail is not thrown out by the
// broker, takes no mail twice, and stays within its memory.
func TestLargeMails(t *testing.T) {
	testrun.Beside(t)
	mails := testrun.Pick(12, 60)
	w := newWorld(t)
	w.embeddedWith(mails)
	w.sendLarge(mails, "40", w.get("NATS_LISTEN"))
}

// TestLargeMailsOverASlowWire: the same if the mail comes to the worker more slowly than
// the broker sends it: from an embedded broker, and from three servers with the settings
// of deploy/k8s.
func TestLargeMailsOverASlowWire(t *testing.T) {
	mails := testrun.Pick(12, 60)
	for name, begin := range map[string]func(w *world){
		"embedded": func(w *world) { w.embeddedWith(mails) },
		"cluster":  func(w *world) { w.clusterWith(mails) },
	} {
		t.Run(name, func(t *testing.T) {
			testrun.Beside(t)
			w := newWorld(t)
			begin(w)
			began := time.Now()
			w.sendLarge(mails, "10", slowWire(t, w.get("NATS_LISTEN"), hundredMbit))
			if rate := float64(mails*largeBytes) / time.Since(began).Seconds(); rate > hundredMbit {
				t.Errorf("the mail came at %.0f bytes a second, faster than the wire is", rate)
			}
		})
	}
}

// embeddedWith runs an embedded broker that has large mail. Its own relay is away.
func (w *world) embeddedWith(mails int) {
	w.t.Helper()
	w.set("POSTRIDER_DATA_DIR", w.path("data"))
	w.set("SMTP_URL", "smtp://127.0.0.1:9?tls=none")
	w.worker("broker")
	w.publishMany(mails, largeBytes, "ann@example.net")
}

// clusterWith runs three servers that have large mail. NATS_LISTEN is one of them.
func (w *world) clusterWith(mails int) {
	w.t.Helper()
	cluster := natstest.StartCluster(w.t, broker.DefaultConfig().AckWait, wire.Lane("normal"))
	first, _, _ := strings.Cut(cluster.Config.URL, ",")
	u, err := url.Parse(first)
	if err != nil {
		w.t.Fatal(err)
	}
	w.set("NATS_LISTEN", u.Host)
	w.set("POSTRIDER_DATA_DIR", w.path("data"))
	w.set("POSTRIDER_LANES", "normal=1")
	w.publishMany(mails, largeBytes, "ann@example.net")
}

// sendLarge has a worker send the large mail of the broker at addr, and checks that each
// is delivered to it once, and sent once.
func (w *world) sendLarge(mails int, sessions, addr string) {
	t := w.t
	t.Helper()
	relay, _ := w.relay("relay", "-book", w.path("book"), "-delay", "500ms")
	w.set("SMTP_URL", relay)
	w.set("SMTP_MAX_SESSIONS", sessions)
	w.set("GOMEMLIMIT", "460MiB") // as a worker sets it in the pod of deploy/k8s
	w.set("NATS_URL", "nats://"+addr)
	sender := w.start("sender", "worker")
	testrun.Eventually(t, "all are accepted", 5*time.Minute, w.allIn(mails, "book", "ann@example.net"))
	if twice := w.report(mails, "book", "ann@example.net"); len(twice) > 0 {
		t.Errorf("sent twice: %v", twice)
	}
	if said, _ := os.ReadFile(sender.Err); strings.Contains(string(said), "connection to the broker lost") {
		t.Errorf("it was thrown out:\n%s", said)
	}
	if n := w.metric(w.adminOf(sender), "postrider_taken_total"); int(n) != mails {
		t.Errorf("the broker made %.0f deliveries of %d mails", n, mails)
	}
	peak := peakMemory(t, sender)
	t.Logf("mails=%d bytes=%d sessions=%s peak=%d MiB", mails, largeBytes, sessions, peak>>20)
	if peak > mostMemory {
		t.Errorf("it took %d MiB of memory, want at most %d", peak>>20, mostMemory>>20)
	}
}

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
