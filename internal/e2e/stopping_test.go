package e2e

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// TestStopping: a worker that is told to stop says what it waits for, and at the
// end what became of it.
func TestStopping(t *testing.T) {
	t.Parallel()
	mail := []string{"--from", "a@example.com", "--to", "b@example.net", "--text", "x", "--id", "m"}
	for name, c := range map[string]struct {
		relay   []string
		publish bool
		hurry   bool
		want    []string
	}{
		"idle": {nil, false, false, []string{
			"Stopping: no message is in flight.", "Stopped.",
		}},
		"in flight": {[]string{"-delay", "2s"}, true, false, []string{
			"Stopping: waits at most 1m15s for 1 message in flight. A second signal requeues at once.",
			"Stopped: 1 message settled, 0 requeued.",
		}},
		"requeued": {[]string{"-silent", "1"}, true, true, []string{
			"Stopping: waits at most 1m15s for 1 message in flight. A second signal requeues at once.",
			"Stopped: 0 messages settled, 1 requeued.",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			url, _ := w.relay("relay", append(c.relay, "-book", w.path("book"))...)
			w.set("SMTP_URL", url)
			p := w.worker("worker")
			if c.publish {
				if out, stderr, status := w.run("publish", mail...); status != 0 {
					t.Fatal(out, stderr)
				}
				w.taken("m")
			}
			if c.hurry {
				if err := p.Cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				w.await(p.Out, "Stopping: ", 10*time.Second)
			}
			if err := p.End(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			out, err := os.ReadFile(p.Out)
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for line := range strings.Lines(string(out)) {
				if _, words, _ := strings.Cut(line, " "); strings.HasPrefix(words, "Stop") { // after its time
					said = append(said, strings.TrimSuffix(words, "\n"))
				}
			}
			if got, want := strings.Join(said, "\n"), strings.Join(c.want, "\n"); got != want {
				t.Errorf("it said\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// taken waits until a worker has the message in flight.
func (w *world) taken(id string) {
	w.t.Helper()
	var out, stderr string
	testrun.Eventually(w.t, "a worker takes "+id, 20*time.Second, func() bool {
		out, stderr, _ = w.run("postrider", "show", id)
		return strings.Contains(out, "taken by a worker")
	}, func() string { return out + stderr })
}

// TestHangup: SIGHUP, also twice and at once, has a worker read its files again, and does
// not end it.
func TestHangup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	url, _ := w.relay("relay", "-book", w.path("book"))
	password := w.path("password")
	if err := os.WriteFile(password, []byte("s3cret-one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.set("SMTP_URL", url)
	w.set("SMTP_USERNAME", "ann")
	w.set("SMTP_PASSWORD_FILE", password)
	w.set("SMTP_AUTH_WITHOUT_TLS", "true")
	p := w.worker("worker")
	if err := os.WriteFile(password, []byte("s3cret-two\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := p.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	w.await(p.Err, `files were read again" read=SMTP_PASSWORD_FILE changed=SMTP_PASSWORD_FILE`, 10*time.Second)
	if err := p.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	w.await(p.Out, "Stopped", 10*time.Second)
}
