package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the command; stop ends it as SIGTERM would and returns its status.
func start(t *testing.T, args ...string) (addr string, stop func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	status := make(chan int, 1)
	go func() { status <- run(ctx, args, w, io.Discard); w.Close() }()
	line := make([]byte, 100)
	n, err := r.Read(line)
	if err != nil {
		t.Fatalf("it does not start: %v", err)
	}
	addr, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "listening on ")
	if !ok {
		t.Fatalf("it says %q", line[:n])
	}
	return addr, func() int { cancel(); return <-status }
}

func say(t *testing.T, addr, in string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, in); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

const message = "Message-ID: <1@x>\r\nX-Bench: 7 8\r\n\r\nhello\r\n"

func TestBook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	book, open, mail := filepath.Join(dir, "book"), filepath.Join(dir, "open"), filepath.Join(dir, "mail")
	addr, stop := start(t, "-book", book, "-open", open, "-maildir", mail, "-delay", "20ms")
	begin := time.Now()
	out := say(t, addr, "MAIL FROM:<a@x>\r\nRCPT TO:<550@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"+message+".\r\nQUIT\r\n")
	if !strings.Contains(out, "550 5.0.0") || !strings.Contains(out, "queued as") || time.Since(begin) < 20*time.Millisecond {
		t.Errorf("after %s: %s", time.Since(begin), out)
	}
	if status := stop(); status != 0 {
		t.Errorf("status %d", status)
	}
	var e entry
	readLines(t, book, 1, &e)
	if e.From != "a@x" || len(e.Rcpts) != 1 || e.Rcpts[0] != "b@x" || e.ID != "<1@x>" || e.Bench != "7 8" || e.Size != len(message) || e.Session != 1 || e.At.IsZero() {
		t.Errorf("%+v", e)
	}
	body, err := os.ReadFile(filepath.Join(mail, e.SHA256+".eml"))
	if err != nil || string(body) != message {
		t.Errorf("body %q: %v", body, err)
	}
	var first, last turn
	readLines(t, open, 2, &first, &last)
	if first.What != "dot" || last.What != "reply" || first.ID != "<1@x>" || last.ID != "<1@x>" || last.At.Sub(first.At) < 20*time.Millisecond {
		t.Errorf("%+v %+v", first, last)
	}
}

// TestBookFirst: the line is in the book before the reply is sent.
func TestBookFirst(t *testing.T) {
	t.Parallel()
	book := filepath.Join(t.TempDir(), "book")
	addr, stop := start(t, "-book", book)
	defer stop()
	for n := range 10 {
		say(t, addr, "MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"+message+".\r\nQUIT\r\n")
		b, err := os.ReadFile(book)
		if err != nil || bytes.Count(b, []byte("\n")) != n+1 {
			t.Fatalf("%d lines after %d replies: %v", bytes.Count(b, []byte("\n")), n+1, err)
		}
	}
}

// TestAccept: with -accept no address is refused.
func TestAccept(t *testing.T) {
	t.Parallel()
	addr, stop := start(t, "-accept")
	defer stop()
	if out := say(t, addr, "MAIL FROM:<a@x>\r\nRCPT TO:<550@x>\r\nQUIT\r\n"); strings.Contains(out, "550") {
		t.Errorf("it answers %q", out)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	for want, args := range map[int][]string{
		64: {"-what"}, 73: {"-book", filepath.Join(t.TempDir(), "none", "book")}, 69: {"-listen", "256.0.0.1:1"},
	} {
		if got := run(t.Context(), args, io.Discard, io.Discard); got != want {
			t.Errorf("%v: status %d, want %d", args, got, want)
		}
	}
}

func readLines(t *testing.T, name string, n int, into ...any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) != n {
		t.Fatalf("%s has %d lines, want %d", name, len(lines), n)
	}
	for i, v := range into {
		if err := json.Unmarshal([]byte(lines[i]), v); err != nil {
			t.Fatal(err)
		}
	}
}
