package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// The promise, held to by counting at the relay: each test publishes mail,
// breaks something, and reads the relay's own synced book.

// accepted counts how often the relay took each mail for each recipient.
func (w *world) accepted(book string) map[storm.Key]int {
	w.t.Helper()
	n, err := storm.Accepted(w.path(book))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func lines[T any](t *testing.T, file string) []T {
	t.Helper()
	all, err := storm.ReadLines[T](file)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// publishMany publishes mails m1 to mN of that size as an application does,
// with no credentials, and returns once all are acknowledged.
func (w *world) publishMany(n, size int, to ...string) {
	w.t.Helper()
	nc, err := nats.Connect("nats://"+w.get("NATS_LISTEN"), nats.MaxReconnects(-1))
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(256))
	if err != nil {
		w.t.Fatal(err)
	}
	text := strings.Repeat("0123456789 a line of text that is not too long for seven bits\n", size/62)
	acks := make([]jetstream.PubAckFuture, 0, n)
	for i := range n {
		body, err := json.Marshal(map[string]any{
			"id": fmt.Sprintf("m%d", i+1), "from": "app@example.com", "to": to, "subject": "Mail", "text": text,
		})
		if err != nil {
			w.t.Fatal(err)
		}
		f, err := js.PublishAsync("mail.send.normal", body, jetstream.WithStallWait(time.Minute))
		if err != nil {
			w.t.Fatal(err)
		}
		acks = append(acks, f)
	}
	for _, f := range acks {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			w.t.Fatal(err)
		case <-time.After(time.Minute):
			w.t.Fatal("a publish was not acknowledged within a minute")
		}
	}
}

func (w *world) get(name string) string {
	for _, v := range w.env {
		if s, ok := strings.CutPrefix(v, name+"="); ok {
			return s
		}
	}
	return ""
}

// report holds the promise against the book: every mail for every recipient at
// least once. It gives those that were accepted more often.
func (w *world) report(n int, book string, to ...string) (twice []storm.Key) {
	w.t.Helper()
	got := w.accepted(book)
	lost := 0
	for i := range n {
		for _, r := range to {
			key := storm.Key{ID: fmt.Sprintf("m%d", i+1), Rcpt: r}
			if got[key] == 0 {
				lost++
			}
			for range got[key] - 1 {
				twice = append(twice, key)
			}
		}
	}
	w.t.Logf("acknowledged=%d delivered=%d lost=%d twice=%d", n*len(to), n*len(to)-lost, lost, len(twice))
	if lost > 0 {
		w.t.Errorf("%d of %d were lost", lost, n*len(to))
	}
	return twice
}

func (w *world) allIn(n int, book string, to ...string) func() bool {
	return func() bool {
		got := w.accepted(book)
		for i := range n {
			for _, r := range to {
				if got[storm.Key{ID: fmt.Sprintf("m%d", i+1), Rcpt: r}] == 0 {
					return false
				}
			}
		}
		return true
	}
}

// adminOf is where a worker serves its metrics.
func (w *world) adminOf(p *storm.Process) string {
	w.t.Helper()
	return "http://" + w.await(p.Out, `(?:Probes and metrics: http://|"admin":")([^"\s]+)`, 20*time.Second)[1]
}

// metric is a value of a worker's /metrics, summed over all labels; name may
// end in the first of them.
func (w *world) metric(admin, name string) float64 {
	w.t.Helper()
	r, err := http.Get(admin + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	sum := 0.0
	for s := bufio.NewScanner(r.Body); s.Scan(); {
		if line := s.Text(); strings.HasPrefix(line, name) && strings.ContainsAny(line[len(name):][:1], " {,}") {
			f, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				w.t.Fatal(err)
			}
			sum += f
		}
	}
	return sum
}

// TestLoad sends mail with default settings: none lost, none twice. Its log is
// what docs/performance.md quotes.
func TestLoad(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t)
	url, _ := w.relay("relay", "-book", w.path("book"))
	w.set("SMTP_URL", url)
	p := w.worker("worker")
	began := time.Now()
	w.publishMany(scale.loadMails, 10<<10, "ann@example.net")
	published := time.Since(began)
	testrun.Eventually(w.t, "all are accepted", 5*time.Minute, func() bool { return countLines(w.path("book")) >= scale.loadMails })
	took := time.Since(began)
	admin := w.adminOf(p)
	testrun.Eventually(w.t, "all are settled", time.Minute, func() bool { return w.metric(admin, "postrider_settled_total") >= float64(scale.loadMails) })
	cpu, peak := usage(t, p)
	sessions := w.metric(admin, `postrider_smtp_phase_seconds_count{phase="connect"`)
	t.Logf("mails=%d size=10240 msgs_per_s=%.0f publish_s=%.1f total_s=%.1f cpu_s_per_1000=%.3f peak_mb=%.0f sessions=%.0f messages_a_session=%.0f",
		scale.loadMails, float64(scale.loadMails)/took.Seconds(), published.Seconds(), took.Seconds(), cpu.Seconds()/float64(scale.loadMails)*1000, peak,
		sessions, float64(scale.loadMails)/sessions)
	if twice := w.report(scale.loadMails, "book", "ann@example.net"); len(twice) > 0 {
		t.Errorf("sent twice: %v", twice)
	}
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
}

func countLines(file string) int {
	b, _ := os.ReadFile(file)
	return bytes.Count(b, []byte("\n"))
}

// usage is the CPU time of a process, broker and all, and its peak memory in MiB.
func usage(t *testing.T, p *storm.Process) (cpu time.Duration, peak float64) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Cmd.Process.Pid))
	if err != nil {
		t.Skipf("needs /proc: %v", err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindStringSubmatch(string(status))
	kb, _ := strconv.ParseFloat(m[1], 64)
	return time.Duration(user+system) * 10 * time.Millisecond, kb / 1024
}

// TestWorkersKilled kills workers while the relay holds a transaction of
// theirs open. None is lost; each one that is sent twice was open at a kill.
func TestWorkersKilled(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t, "POSTRIDER_ACK_WAIT=2s")
	url, _ := w.relay("relay", "-book", w.path("book"), "-open", w.path("open"), "-delay", "200ms")
	w.set("SMTP_URL", url)
	w.worker("broker")
	w.publishMany(scale.killMails, 1<<10, "ann@example.net")
	// The others use the first one's broker, which itself is not killed here.
	w.set("NATS_URL", "nats://"+w.get("NATS_LISTEN"))
	w.set("POSTRIDER_ADMIN", "127.0.0.1:0")
	var kills []storm.Fault
	for k := range scale.killTimes {
		p := w.start(fmt.Sprintf("worker%d", k), "worker")
		if _, err := storm.Await(p.Out, "Publish a mail", 20*time.Second); err != nil {
			t.Fatal(err)
		}
		testrun.Eventually(w.t, "the worker sends", 20*time.Second, func() bool { return w.metric(w.adminOf(p), "postrider_settled_total") > 5 })
		f := storm.Fault{From: time.Now()}
		if err := p.End(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		f.To = time.Now()
		kills = append(kills, f)
	}
	testrun.Eventually(w.t, "all are accepted", 10*time.Minute, w.allIn(scale.killMails, "book", "ann@example.net"))
	atKill := w.open("open", kills)
	t.Logf("kills=%d open_at_a_kill=%d", scale.killTimes, len(atKill))
	if len(atKill) < scale.killTimes {
		t.Errorf("only %d transactions were open at %d kills", len(atKill), scale.killTimes)
	}
	for _, key := range w.report(scale.killMails, "book", "ann@example.net") {
		t.Logf("twice: %s, open at a kill: %v", key, atKill[key])
		if !atKill[key] {
			t.Errorf("%s was sent twice and was not open at a kill", key)
		}
	}
}

// open are those whose deliveries need not have been recorded at a fault, by the
// relay's own file.
func (w *world) open(file string, faults []storm.Fault) map[storm.Key]bool {
	w.t.Helper()
	open, err := storm.Open(w.path(file), faults)
	if err != nil {
		w.t.Fatal(err)
	}
	return open
}

// TestWorkerStopped stops a worker's process in mid-transaction until its leases
// have run out, and lets it go on. What was in transmission is doubled, at most
// one a session, and each double is counted by the worker that finds it.
func TestWorkerStopped(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t, "POSTRIDER_ACK_WAIT=2s")
	url, _ := w.relay("relay", "-book", w.path("book"), "-open", w.path("open"), "-delay", "300ms")
	w.set("SMTP_URL", url)
	first := w.worker("broker")
	w.set("NATS_URL", "nats://"+w.get("NATS_LISTEN"))
	second := w.start("worker", "worker")
	if _, err := storm.Await(second.Out, "Publish a mail", 20*time.Second); err != nil {
		t.Fatal(err)
	}
	admin := w.adminOf(second)
	w.publishMany(scale.stopMails, 1<<10, "ann@example.net")
	testrun.Eventually(w.t, "the worker sends", 20*time.Second, func() bool { return w.metric(admin, "postrider_settled_total") > 5 })
	stop := storm.Fault{From: time.Now()}
	if err := second.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stop.To = time.Now()
	testrun.Eventually(w.t, "all are accepted", 2*time.Minute, w.allIn(scale.stopMails, "book", "ann@example.net"))
	time.Sleep(5 * time.Second) // its leases run out, and another has what it held
	if err := second.Cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	testrun.Eventually(w.t, "nothing is in flight", time.Minute, func() bool {
		return w.metric(admin, "postrider_in_flight")+w.metric(w.adminOf(first), "postrider_in_flight") == 0
	})
	twice := w.report(scale.stopMails, "book", "ann@example.net")
	open := w.open("open", []storm.Fault{stop})
	for _, key := range twice {
		if !open[key] {
			t.Errorf("%s was sent twice and was not in transmission when the worker was stopped", key)
		}
	}
	found := w.metric(admin, "postrider_accepted_twice_total") + w.metric(w.adminOf(first), "postrider_accepted_twice_total")
	t.Logf("open=%d twice=%d counted=%.0f", len(open), len(twice), found)
	if len(twice) > sessionsDefault || found != float64(len(twice)) {
		t.Errorf("%d were sent twice, at most %d can have been; %.0f are counted", len(twice), sessionsDefault, found)
	}
}

// sessionsDefault is SMTP_MAX_SESSIONS.
const sessionsDefault = 10

// TestFirstMail measures the way of one mail with nothing set: from the PubAck to
// the file.
func TestFirstMail(t *testing.T) {
	w := newWorld(t)
	p := w.worker("worker")
	nc, err := nats.Connect("nats://" + w.get("NATS_LISTEN"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	worst := time.Duration(0)
	for i := range scale.firstMails {
		body := fmt.Sprintf(`{"id":"m%d","from":"app@example.com","to":["ann@example.net"],"text":"hi"}`, i)
		if _, err := nc.Request("mail.send.normal", []byte(body), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		acked := time.Now()
		testrun.Eventually(w.t, "the file is there", 10*time.Second, func() bool {
			files, _ := filepath.Glob(w.path(fmt.Sprintf("data/sent/*-m%d.eml", i)))
			return len(files) == 1
		})
		worst = max(worst, time.Since(acked))
	}
	t.Logf("mails=%d worst=%s from the PubAck to the file", scale.firstMails, worst.Round(time.Millisecond))
	if worst > time.Second {
		t.Errorf("a file was there only after %s:\n%s", worst, read(t, p.Out))
	}
}

// TestBrokerKilled kills the worker that runs the broker, and so both, while
// other workers go on. None is lost.
func TestBrokerKilled(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t, "POSTRIDER_ACK_WAIT=2s", "POSTRIDER_RETRY_AFTER=500ms")
	url, _ := w.relay("relay", "-book", w.path("book"))
	w.set("SMTP_URL", url)
	first := w.worker("broker")
	env := append([]string(nil), w.env...)
	w.set("NATS_URL", "nats://"+w.get("NATS_LISTEN"))
	for i := range 2 {
		p := w.start(fmt.Sprintf("worker%d", i), "worker")
		if _, err := storm.Await(p.Out, "Publish a mail", 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	published := make(chan struct{})
	go func() {
		defer close(published)
		w.publishSlowly(scale.brokerMails, "ann@example.net", "450x1@example.org")
	}()
	for k := range scale.brokerKills {
		want := (k + 1) * scale.brokerMails / (scale.brokerKills + 1)
		testrun.Eventually(w.t, "some are sent", 3*time.Minute, func() bool { return countLines(w.path("book")) > want })
		if err := first.End(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		w.env, env = env, w.env
		first = w.worker(fmt.Sprintf("broker%d", k))
		w.env, env = env, w.env
	}
	<-published
	testrun.Eventually(w.t, "all are accepted", 5*time.Minute, w.allIn(scale.brokerMails, "book", "ann@example.net", "450x1@example.org"))
	twice := w.report(scale.brokerMails, "book", "ann@example.net", "450x1@example.org")
	t.Logf("kills=%d twice=%d", scale.brokerKills, len(twice))
	// Three workers with ten sessions each were in the window at each kill.
	if most := scale.brokerKills * 30 * 2; len(twice) > most {
		t.Errorf("%d were sent twice, at most %d can have been in the window", len(twice), most)
	}
}

// publishSlowly publishes one after the other, each until it is acknowledged,
// under an id of its own.
func (w *world) publishSlowly(n int, to ...string) {
	nc, err := nats.Connect("nats://"+w.get("NATS_LISTEN"), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond))
	if err != nil {
		w.t.Error(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Error(err)
		return
	}
	for i := range n {
		id := fmt.Sprintf("m%d", i+1)
		body, _ := json.Marshal(map[string]any{"id": id, "from": "app@example.com", "to": to, "text": "hi"})
		for {
			_, err := js.Publish(w.t.Context(), "mail.send.normal", body, jetstream.WithMsgID(id))
			if err == nil {
				break
			}
			if w.t.Context().Err() != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// TestRelayAway: no attempt is counted, no mail dies, and all is delivered
// once the relay is back.
func TestRelayAway(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t)
	addr := freeport.Addr()
	url, relay := w.relay("relay", "-book", w.path("book"), "-listen", addr)
	w.set("SMTP_URL", url)
	if err := relay.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p := w.worker("worker")
	w.publishMany(scale.outageMails, 1<<10, "ann@example.net")
	time.Sleep(scale.outageTime) // the outage itself
	back := time.Now()
	w.relay("relay2", "-book", w.path("book"), "-listen", addr)
	testrun.Eventually(w.t, "all are accepted", 2*time.Minute, w.allIn(scale.outageMails, "book", "ann@example.net"))
	t.Logf("mails=%d outage=%s all delivered %.1f s after the relay was back", scale.outageMails, scale.outageTime, time.Since(back).Seconds())
	if twice := w.report(scale.outageMails, "book", "ann@example.net"); len(twice) > 0 {
		t.Errorf("sent twice: %v", twice)
	}
	out, _, status := w.run("postrider", "dead", "list")
	if out != "" || status != 1 {
		t.Errorf("dead: %s (status %d)", out, status)
	}
	admin := w.adminOf(p)
	if n := w.metric(admin, "postrider_settled_total"); n != float64(scale.outageMails) {
		t.Errorf("%v deliveries settled, want %d: one for each mail", n, scale.outageMails)
	}
}

// TestSchedule: 451, 451, 250 is delivered at the third attempt, at the times
// of the schedule.
func TestSchedule(t *testing.T) {
	w := newWorld(t, "POSTRIDER_RETRY_AFTER=1s,2s")
	url, _ := w.relay("relay", "-book", w.path("book"))
	w.set("SMTP_URL", url)
	p := w.worker("worker")
	began := time.Now()
	w.publishMany(1, 100, "451x2@example.net")
	m := w.await(p.Out, `delivered  m1 to 451x2@example.net`, 20*time.Second)
	// 1 s and 2 s, each up to a tenth earlier or later, fired within 0.25 s.
	if took := time.Since(began); m == nil || took < 2700*time.Millisecond || took > 4200*time.Millisecond {
		t.Errorf("delivered after %s, want 3 s", took)
	}
	if n := strings.Count(read(t, p.Out), "deferred   m1"); n != 2 {
		t.Errorf("deferred %d times, want 2", n)
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestLater: publish --in arrives when it is due and up to a second later, also
// if worker and broker are killed meanwhile.
func TestLater(t *testing.T) {
	w := newWorld(t)
	url, _ := w.relay("relay", "-book", w.path("book"))
	w.set("SMTP_URL", url)
	p := w.worker("worker")
	began := time.Now()
	if _, stderr, status := w.run("publish", "--from", "a@example.com", "--to", "ann@example.net", "--text", "hi", "--in", scale.laterTime.String(), "--id", "m1"); status != 0 {
		t.Fatal(stderr)
	}
	testrun.Eventually(w.t, "it arrives", scale.laterTime+10*time.Second, w.allIn(1, "book", "ann@example.net"))
	at := lines[storm.Entry](t, w.path("book"))[0].At.Sub(began)
	t.Logf("--in %s arrived after %.2f s", scale.laterTime, at.Seconds())
	if at < scale.laterTime || at > scale.laterTime+time.Second {
		t.Errorf("arrived after %s", at)
	}
	if _, stderr, status := w.run("publish", "--from", "a@example.com", "--to", "ann@example.net", "--text", "hi", "--in", scale.laterTime.String(), "--id", "m2"); status != 0 {
		t.Fatal(stderr)
	}
	w.await(p.Out, `scheduled  m2`, 10*time.Second)
	due := time.Now().Add(scale.laterTime)
	if err := p.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(due) + time.Second) // the time it is due, with nobody there
	p = w.worker("worker2")
	admin := w.adminOf(p)
	testrun.Eventually(w.t, "it is ready", 20*time.Second, func() bool {
		r, err := http.Get(admin + "/readyz")
		if err != nil {
			return false
		}
		r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	ready := time.Now()
	testrun.Eventually(w.t, "it arrives", 20*time.Second, w.allIn(2, "book", "ann@example.net"))
	t.Logf("killed over its time: arrived %.2f s after readiness", time.Since(ready).Seconds())
	if late := time.Since(ready); late > 3*time.Second {
		t.Errorf("arrived %s after readiness", late)
	}
}

// TestStopUnderLoad: workers that are told to stop settle what is in flight, and
// nothing is sent twice.
func TestStopUnderLoad(t *testing.T) {
	testrun.Beside(t)
	w := newWorld(t, "POSTRIDER_ACK_WAIT=5s")
	url, _ := w.relay("relay", "-book", w.path("book"), "-delay", "20ms")
	w.set("SMTP_URL", url)
	p := w.worker("worker0")
	w.publishMany(scale.killMails, 1<<10, "ann@example.net")
	for k := range scale.killTimes {
		n := countLines(w.path("book"))
		testrun.Eventually(w.t, "some are sent", time.Minute, func() bool { return countLines(w.path("book")) > n+10 })
		if err := p.End(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := p.Cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("ended with %d: %s", code, read(t, p.Err))
		}
		p = w.worker(fmt.Sprintf("worker%d", k+1))
	}
	testrun.Eventually(w.t, "all are accepted", 5*time.Minute, w.allIn(scale.killMails, "book", "ann@example.net"))
	if twice := w.report(scale.killMails, "book", "ann@example.net"); len(twice) > 0 {
		t.Errorf("sent twice: %v", twice)
	}
}
