package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGoodbye: a worker that is told to stop says what it waits for, and at the
// end what became of that.
func TestGoodbye(t *testing.T) {
	t.Parallel()
	mail := []string{"--from", "a@example.com", "--to", "b@example.net", "--text", "x", "--id", "m"}
	for name, c := range map[string]struct {
		relay   []string
		publish bool
		hurry   bool
		want    []string
	}{
		"idle": {nil, false, false, []string{
			"Stopping: no mail is in hand.", "Stopped.",
		}},
		"in hand": {[]string{"-delay", "2s"}, true, false, []string{
			"Stopping: waits for the mail in hand (1), 1m15s at most. A second signal hands it back at once.",
			"Stopped: of the mail in hand 1 came to an end, 0 was handed back for the next worker.",
		}},
		"handed back": {[]string{"-silent", "1"}, true, true, []string{
			"Stopping: waits for the mail in hand (1), 1m15s at most. A second signal hands it back at once.",
			"Stopped: of the mail in hand 0 came to an end, 1 was handed back for the next worker.",
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
				if strings.HasPrefix(line, "Stop") {
					said = append(said, strings.TrimSuffix(line, "\n"))
				}
			}
			if got, want := strings.Join(said, "\n"), strings.Join(c.want, "\n"); got != want {
				t.Errorf("it said\n%s\nwant\n%s", got, want)
			}
		})
	}
}

// taken waits until a worker has the mail in hand.
func (w *world) taken(id string) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		out, stderr, _ := w.run("mailq", "show", id)
		if strings.Contains(out, "taken by a worker") {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal(out, stderr)
		}
	}
}
