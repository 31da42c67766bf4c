package submit_test

import (
	"context"
	"log"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(dirOfBroker); dir != "" {
		serveBroker(dir)
	}
	natstest.VerifyTestMain(m)
}

const (
	normal = wire.Lane("normal")
	bulk   = wire.Lane("bulk")
)

// within is the test's context with a bound.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

const (
	patience = 30 * time.Second
	briefly  = time.Second
)

// hello is a mail with that ID.
func hello(id string) *schema.Envelope {
	text := "Hi"
	return &schema.Envelope{ID: id, From: mail.Address{Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.net"}}, Text: &text}
}

// raw is a message of that size and a little more.
func raw(size int) []byte {
	line := "0123456789012345678901234567890123456789012345678901234567890123456789\r\n"
	b := []byte("From: a@example.com\r\nTo: b@example.net\r\n\r\n")
	for n := len(b) + size; len(b) < n; {
		b = append(b, line...)
	}
	return b
}

// exampleBroker starts a broker for an example, which has no [testing.T].
func exampleBroker() (url string, stop func()) {
	t := &exampleTB{}
	return natstest.Start(t).Config.URL, t.stop
}

// exampleTB is as much of a test as natstest needs.
type exampleTB struct {
	testing.TB

	cleanups []func()
}

func (t *exampleTB) Helper()                           {}
func (t *exampleTB) Context() context.Context          { return context.Background() }
func (t *exampleTB) Cleanup(f func())                  { t.cleanups = append(t.cleanups, f) }
func (t *exampleTB) Errorf(format string, args ...any) { log.Printf(format, args...) }
func (t *exampleTB) Fatalf(format string, args ...any) { log.Fatalf(format, args...) }

func (t *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (t *exampleTB) stop() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}
