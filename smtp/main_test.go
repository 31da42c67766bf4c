package smtp

import (
	"bytes"
	"context"
	"io"
	"iter"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lines is a log that can be read while it is being written.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }

func (l *lines) String() string { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }

func (l *lines) count(s string) int { return strings.Count(l.String(), s) }

// bundle is a relay of ours and the server it talks to.
type bundle struct {
	*Relay
	server *smtptest.Server
	log    *lines
}

// testConfig has pauses so long that no probe runs during a test.
func testConfig(url string) Config {
	c := DefaultConfig()
	c.URL = url
	c.EHLOName = "client.test"
	c.PauseMin, c.PauseMax = time.Hour, time.Hour
	return c
}

func newBundle(t testing.TB, server *smtptest.Server, change func(*Config)) *bundle {
	t.Helper()
	c := testConfig(server.URL())
	if change != nil {
		change(&c)
	}
	b := &bundle{server: server, log: &lines{}}
	b.Relay = newTestRelay(t, c, b.log)
	return b
}

func newTestRelay(t testing.TB, c Config, log io.Writer) *Relay {
	t.Helper()
	r, err := New(c, slog.New(slog.NewTextHandler(log, nil)), nil)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return r
}

const smallBody = "Subject: test\r\nMessage-ID: <1@client.test>\r\n\r\n.one\r\n..two\r\nthree\r\n"

// message is a message with smallBody, to a@x.test if no recipient is given.
func message(to ...string) mail.Message { return mailWith(smallBody, to...) }

func mailWith(body string, to ...string) mail.Message {
	if len(to) == 0 {
		to = []string{"a@x.test"}
	}
	m := mail.Message{ID: "m1", From: "sender@x.test", Size: int64(len(body))}
	m.Body = bodyFunc(func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil })
	for i, a := range to {
		m.Recipients = append(m.Recipients, mail.Recipient{Index: i, Address: a})
	}
	return m
}

// bodyFunc is a [mail.Body] made of its Open.
type bodyFunc func() (io.ReadCloser, error)

func (f bodyFunc) Open() (io.ReadCloser, error) { return f() }

// tableLines are the lines of a table in a file, by their numbers, without comments
// and empty lines.
func tableLines(t *testing.T, name string) iter.Seq2[int, string] {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.Lines(string(b)) {
			n++
			line = strings.TrimSuffix(line, "\n")
			if line != "" && line[0] != '#' && !yield(n, line) {
				return
			}
		}
	}
}

// classes are the classes of the outcomes, separated by spaces.
func classes(tx mail.Transaction) string {
	var s []string
	for _, o := range tx.Outcomes {
		s = append(s, string(o.Class))
	}
	return strings.Join(s, " ")
}

func (b *bundle) deliver(t testing.TB, m mail.Message) mail.Transaction {
	t.Helper()
	tx := b.Deliver(t.Context(), m)
	if len(tx.Outcomes) != len(m.Recipients) {
		t.Fatalf("%d outcomes for %d recipients", len(tx.Outcomes), len(m.Recipients))
	}
	return tx
}

func (b *bundle) wantClasses(t testing.TB, m mail.Message, want string) mail.Transaction {
	t.Helper()
	tx := b.deliver(t, m)
	if got := classes(tx); got != want {
		t.Fatalf("outcomes %q, want %q: %+v\n%s", got, want, tx.Outcomes, b.log)
	}
	return tx
}
