package compose

import (
	"bytes"
	"errors"
	"flag"
	"io"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "rewrite the golden files")

const origin = "1764043200000000000-17"

var enqueued = time.Date(2025, 11, 25, 5, 0, 0, 0, time.FixedZone("", 3600))

// envelope is the envelope of testdata/<name>.json.
func envelope(t *testing.T, name string) *schema.Envelope {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := schema.Decode(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func names(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no golden files", err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".json")
	}
	return files
}

func compose(t testing.TB, e *schema.Envelope) (*Message, []byte) {
	t.Helper()
	m, err := Compose(e, origin, enqueued)
	if err != nil {
		t.Fatal(err)
	}
	return m, bytesOf(t, m)
}

func bytesOf(t testing.TB, body mail.Body) []byte {
	t.Helper()
	r, err := body.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range names(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := envelope(t, name)
			m, got := compose(t, e)
			file := filepath.Join("testdata", name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
			checkMessage(t, e, m, got)
		})
	}
}

func TestSameBytesEachTime(t *testing.T) {
	t.Parallel()
	e := envelope(t, "long")
	m, want := compose(t, e)
	for range 100 {
		again, got := compose(t, envelope(t, "long"))
		if !bytes.Equal(got, want) || again.MessageID != m.MessageID {
			t.Fatalf("got:\n%s\nwant:\n%s", got, want)
		}
	}
	if second := bytesOf(t, m); !bytes.Equal(second, want) {
		t.Errorf("opened a second time it has %q", second)
	}
}

func TestMessageIDAndDate(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"plain":           "1764043200000000000-17.order-17@example.com",
		"literal-subject": "1764043200000000000-17@example.com",
		"utf8-local":      "1764043200000000000-17@xn--bcher-kva.example",
		"long":            "mine@example.com",
	} {
		m, b := compose(t, envelope(t, name))
		sent, err := netmail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got := sent.Header.Get("Message-Id"); m.MessageID != want || got != "<"+want+">" {
			t.Errorf("%s: Message-ID %q, written %q, want %q", name, m.MessageID, got, want)
		}
		d, err := sent.Header.Date()
		if given := name == "long"; err != nil || d.Equal(enqueued) == given {
			t.Errorf("%s: Date %v, %v", name, d, err)
		}
	}
}

// TestDateOfScheduledMail is its send_at, whatever its time zone, in both forms. A
// producer's Date takes precedence.
func TestDateOfScheduledMail(t *testing.T) {
	t.Parallel()
	const own = "Mon, 02 Jan 2006 15:04:05 +0000"
	text := "x"
	for _, c := range []struct {
		sendAt time.Time
		given  string
		want   string
	}{
		{time.Time{}, "", "Tue, 25 Nov 2025 04:00:00 +0000"},
		{enqueued.Add(-time.Hour), "", "Tue, 25 Nov 2025 04:00:00 +0000"},
		{enqueued, "", "Tue, 25 Nov 2025 04:00:00 +0000"},
		{enqueued.Add(time.Hour), "", "Tue, 25 Nov 2025 05:00:00 +0000"},
		{time.Date(2030, 6, 1, 8, 0, 0, 5, time.FixedZone("", -7200)), "", "Sat, 01 Jun 2030 10:00:00 +0000"},
		{enqueued.Add(time.Hour), own, own},
	} {
		composed := &schema.Envelope{From: mail.Address{Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.com"}}, Text: &text, SendAt: c.sendAt}
		whole := &schema.Envelope{To: composed.To, Raw: []byte("From: a@example.com\n\nx\n"), SendAt: c.sendAt}
		if c.given != "" {
			composed.Headers = map[string]schema.Values{"date": {c.given}}
			whole.Raw = append([]byte("date: "+c.given+"\n"), whole.Raw...)
		}
		for _, e := range []*schema.Envelope{composed, whole} {
			_, b := compose(t, e)
			sent, err := netmail.ReadMessage(bytes.NewReader(b))
			if err != nil || sent.Header.Get("Date") != c.want {
				t.Errorf("send_at %s, Date %q, whole %v: %v, want %s\n%s", c.sendAt, c.given, e.Raw != nil, err, c.want, b)
			}
			if _, again := compose(t, e); !bytes.Equal(again, b) {
				t.Errorf("another attempt sends %s", again)
			}
		}
	}
}

func TestUTF8IsForLocalPartsInTheHeaderOnly(t *testing.T) {
	t.Parallel()
	for _, name := range names(t) {
		m, _ := compose(t, envelope(t, name))
		if want := name == "utf8-local"; m.UTF8 != want || m.EightBit != want {
			t.Errorf("%s: UTF8 %v, EightBit %v, want %v", name, m.UTF8, m.EightBit, want)
		}
	}
}

func TestBodyEncodings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                               "7bit",
		"a\tb\n":                         "7bit",
		strings.Repeat("x", 78) + "\r":   "7bit",
		strings.Repeat("x", 79):          "quoted-printable",
		"a\x1ab":                         "quoted-printable",
		"mostly ASCII, with one ü in it": "quoted-printable",
		strings.Repeat("ü", 9):           "base64",
	} {
		if got := encodingOf(text); got != want {
			t.Errorf("%q is encoded as %s, want %s", text, got, want)
		}
	}
}

// TestRefuses: the error names the field that cannot be written; what Decode should
// have refused is refused here too.
func TestRefuses(t *testing.T) {
	t.Parallel()
	text := "x"
	for field, change := range map[string]func(*schema.Envelope){
		"from":               func(e *schema.Envelope) { e.From.Email = "a@⑴.example" },
		"to[0]":              func(e *schema.Envelope) { e.To[0].Email = "a@" + strings.Repeat("ü", 31) + "é.example" },
		"headers.message-id": func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"message-id": {"mine"}} },
		"headers.Message-ID": func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"Message-ID": {"<ä@x>"}} },
		"headers.Date":       func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"Date": {"tomorrow"}} },
		"headers.X":          func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"X": {"a\r\nBcc: b"}} },
		"headers.X: a":       func(e *schema.Envelope) { e.Headers = map[string]schema.Values{"X: a": {"b"}} },
		"subject":            func(e *schema.Envelope) { e.Subject = "a\nBcc: b@example.com" },
		"cc[0]":              func(e *schema.Envelope) { e.Cc = []mail.Address{{Name: "a\r\nb", Email: "b@example.com"}} },
		"bcc[0]":             func(e *schema.Envelope) { e.Bcc = []mail.Address{{Email: "b@example.com>\r\nX: y"}} },
		"reply_to[0]":        func(e *schema.Envelope) { e.ReplyTo = []mail.Address{{Email: "nobody"}} },
		"text":               func(e *schema.Envelope) { e.Text = nil },
	} {
		e := &schema.Envelope{From: mail.Address{Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.com"}}, Text: &text}
		change(e)
		m, err := Compose(e, origin, enqueued)
		bad, ok := errors.AsType[*schema.EnvelopeError](err)
		if !ok || bad.Field != field || bad.Reason != mail.ReasonBadEnvelope || m != nil {
			t.Errorf("%s: %v, want an error of that field", field, err)
		}
	}
}
