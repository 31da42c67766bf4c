package settle_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
)

// belt takes what producers publish to a relay, through all that a worker does
// with it but for the broker.
type belt struct {
	t      *testing.T
	server *smtptest.Server
	relay  *smtp.Relay
	seq    uint64
	// to are the recipients of the last transaction: those who need SMTPUTF8, or
	// those who do not.
	to []mail.Recipient
}

func newBelt(t *testing.T, opts ...smtptest.Option) *belt {
	t.Helper()
	w := &belt{t: t, server: smtptest.New(t, opts...)}
	cfg := smtp.DefaultConfig()
	cfg.URL = w.server.URL()
	var err error
	if w.relay, err = smtp.New(cfg, discard(), nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.relay.Close(t.Context()) })
	return w
}

// send gives what is wrong with the message, or what the relay made of it.
func (w *belt) send(header nats.Header, body []byte) (*settle.Delivery, mail.Transaction) {
	w.t.Helper()
	w.seq++
	h := &settle.Delivery{Lane: lane, Subject: lane.SendSubject(), Sequence: w.seq, Stored: time.Unix(1_700_000_000, 0), Header: header, Body: body}
	h.Read()
	if h.Bad() != nil {
		return h, mail.Transaction{}
	}
	w.to = h.NextBatch(h.Draft(h.Stored), schema.MaxRecipients)
	return h, w.relay.Deliver(w.t.Context(), h.Message(w.to))
}

// one holds that the relay took one message more than before, from whom and for
// whom the envelope says, and nothing in it but lines that end in CRLF.
func (w *belt) one(what string, h *settle.Delivery, tx mail.Transaction) (data []byte) {
	w.t.Helper()
	for _, o := range tx.Outcomes {
		if o.Class != mail.Delivered {
			w.t.Fatalf("%.200q: %+v", what, o)
		}
	}
	all := w.server.Take()
	if len(all) != 1 {
		w.t.Fatalf("%.200q: the relay took %d messages", what, len(all))
	}
	m := all[0]
	var to []string
	for _, r := range w.to {
		to = append(to, r.Address)
	}
	if m.From != h.From() || !slices.Equal(m.Rcpts, to) {
		w.t.Errorf("%.200q: from %q to %q, want %q to %q", what, m.From, m.Rcpts, h.From(), to)
	}
	if bare := bytes.ReplaceAll(m.Data, []byte("\r\n"), nil); bytes.ContainsAny(bare, "\r\n\x00") || !bytes.HasSuffix(m.Data, []byte("\r\n")) {
		w.t.Errorf("%.200q: on the wire %q", what, m.Data)
	}
	return m.Data
}

// ends are all strings of up to n of what could end a line or a message.
func ends(n int) []string {
	all, last := []string{""}, []string{""}
	for range n {
		var longer []string
		for _, s := range last {
			for _, token := range []string{"\r", "\n", "\r\n", "\x00", ".", "x"} {
				longer = append(longer, s+token)
			}
		}
		all, last = append(all, longer...), longer
	}
	slices.Sort(all)
	return slices.Compact(all) // CR and LF make a CRLF
}

// smuggled is what follows a message that ended before its end.
const smuggled = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@x.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"

// around puts an end of data at the beginning, in the middle and at the end of
// a body.
func around(end string) string { return end + "one\r\n" + end + smuggled + end }

// crlf is s as it has to arrive: every line end is CRLF, and the last line has one.
func crlf(s string) string {
	s = strings.NewReplacer("\r\n", "\r\n", "\r", "\r\n", "\n", "\r\n").Replace(s)
	if !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

var asMail = nats.Header{"Content-Type": {"message/rfc822"}}

const mailHead = "From: a@example.com\r\nTo: b@example.net\r\nMessage-ID: <1@example.com>\r\nDate: Mon, 02 Jan 2006 15:04:05 +0000\r\n\r\n"

func asJSON(text string) []byte {
	b, _ := json.Marshal(map[string]any{"from": "a@example.com", "to": []string{"b@example.net"}, "text": text}) // valid UTF-8 always can be
	return b
}

// TestEndOfData sends every string of up to five of CR, LF, CRLF, NUL, dot and
// x, in both forms: one message, whatever a relay takes for its end
// (CVE-2023-51764), and the text comes out as it went in.
func TestEndOfData(t *testing.T) {
	t.Parallel()
	n := 5
	if testing.Short() {
		n = 3
	}
	w := newBelt(t)
	tried := 0
	for _, end := range ends(n) {
		body := around(end)
		for form, h := range map[string]struct {
			header nats.Header
			body   []byte
		}{"raw": {asMail, []byte(mailHead + body)}, "json": {nil, asJSON(body)}} {
			tried++
			h, tx := w.send(h.header, h.body)
			if strings.Contains(end, "\x00") {
				if h.Bad() == nil || !strings.Contains(h.Bad().Error(), "NUL") {
					t.Errorf("%s %q: %v, want a NUL to be refused", form, end, h.Bad())
				}
				continue
			}
			if h.Bad() != nil {
				t.Fatalf("%s %q: %v", form, end, h.Bad())
			}
			_, got, _ := bytes.Cut(w.one(form+" "+end, h, tx), []byte("\r\n\r\n"))
			if string(got) != crlf(body) {
				t.Fatalf("%s %q arrived as %q", form, end, got)
			}
		}
	}
	t.Logf("strings=%d messages=%d sessions=%d", tried/2, tried, w.server.Sessions())
}

// TestEndOfDataThroughTheBroker: a sample of them goes all the way.
func TestEndOfDataThroughTheBroker(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith()
	nc := b.Broker.Producer(t)
	want, dead := map[string]int{}, 0
	for _, end := range ends(3) {
		body := around(end)
		b.produce(nc, asMail, []byte(mailHead+body))
		b.produce(nc, nil, asJSON(body))
		if strings.Contains(end, "\x00") {
			dead += 2
			continue
		}
		want[crlf(body)] += 2
	}
	b.Settled()
	for _, m := range server.Take() {
		_, got, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		if want[got]--; want[got] < 0 || m.From != "a@example.com" || fmt.Sprint(m.Rcpts) != "[b@example.net]" {
			t.Errorf("from %s to %s: %q", m.From, m.Rcpts, got)
		}
	}
	for body, n := range want {
		if n > 0 {
			t.Errorf("%d messages are missing of %q", n, body)
		}
	}
	if n := len(b.Dead()); n != dead {
		t.Errorf("%d dead letters, want %d", n, dead)
	}
}
