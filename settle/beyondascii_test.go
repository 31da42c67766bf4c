package settle_test

import (
	"bytes"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// TestBeyondASCII: what a relay does not offer to take fails with its code and
// is not sent, and what is sent arrives undamaged.
func TestBeyondASCII(t *testing.T) {
	t.Parallel()
	const latin1, utf8 = "Gr\xfc\xdfe\r\n", "Grüße\r\n"
	offers := map[string][]string{"neither": {"PIPELINING"}, "8BITMIME": {"8BITMIME"}, "SMTPUTF8": {"SMTPUTF8"}, "both": {"8BITMIME", "SMTPUTF8"}}
	for _, c := range []struct {
		what   string
		header nats.Header
		body   string
		// says is how each relay's refusal begins; missing: it is delivered.
		says map[string]string
	}{
		{"a UTF-8 text is made 7-bit", nil, `{"from":"a@example.com","to":["ann@example.net"],"subject":"Grüße","text":"Grüße","headers":{"X-A":"ü"},"attachments":[{"filename":"ü","content":"/w=="}]}`, nil},
		{"a UTF-8 domain is said in ASCII", nil, `{"from":"a@bücher.example","to":["Ü <ann@bücher.example>"],"text":"x"}`, nil},
		{"a UTF-8 local part", nil, `{"from":"a@example.com","to":["zoë@example.net"],"text":"x"}`, map[string]string{"neither": "5.6.7", "8BITMIME": "5.6.7"}},
		{"a UTF-8 sender", nil, `{"from":"a@example.com","envelope":{"mail_from":"zoë@example.com"},"to":["ann@example.net"],"text":"x"}`, map[string]string{"neither": "5.6.7", "8BITMIME": "5.6.7"}},
		{"an 8-bit body", asMail, mailHead + latin1, nil},
		{"a UTF-8 body", asMail, mailHead + utf8, nil},
		{"a UTF-8 header", asMail, "Subject: " + utf8 + mailHead + "x\r\n", nil},
		{"a UTF-8 address", asMail, "Reply-To: zoë@example.net\r\n" + mailHead + "x\r\n", map[string]string{"neither": "5.6.7", "8BITMIME": "5.6.7"}},
		{"an 8-bit header", asMail, "Subject: " + latin1 + mailHead + "x\r\n", nil},
	} {
		for name, lines := range offers {
			w := newBelt(t, smtptest.Extensions(lines...))
			h, tx := w.send(c.header, []byte(c.body))
			if h.Bad() != nil {
				t.Fatalf("%s: %v", c.what, h.Bad())
			}
			says := c.says[name]
			if o := tx.Outcomes[0]; says != "" {
				if o.Class != mail.Failed || len(o.Enhanced) < len(says) || o.Enhanced[:len(says)] != says || w.server.Accepted() != 0 {
					t.Errorf("%s, offered %s: %+v, want %s", c.what, name, o, says)
				}
				continue
			}
			data := w.one(c.what+", offered "+name, h, tx)
			if c.header != nil && string(data) != c.body {
				t.Errorf("%s, offered %s: arrived as %q", c.what, name, data)
			}
			if eight := bytes.ContainsFunc(data, func(r rune) bool { return r > 127 }); c.header == nil && c.says == nil && eight {
				t.Errorf("%s, offered %s: 8-bit: %q", c.what, name, data)
			}
		}
	}
}

// TestOneBeyondASCII: a relay without SMTPUTF8 refuses the one recipient who
// needs it, and the others get the mail.
func TestOneBeyondASCII(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	server := b.workWith(smtptest.Extensions("8BITMIME"))
	nc := b.Broker.Producer(t)
	b.produce(nc, nil, []byte(`{"from":"a@example.com","to":["ann@example.net"],"bcc":["zoë@example.net","bob@bücher.example"],"text":"x"}`))
	b.Settled()
	got := received(server, "a@example.com")
	if len(got) != 2 || got["ann@example.net"] == nil || got["bob@xn--bcher-kva.example"] == nil {
		t.Errorf("received %v", got)
	}
	if dead := b.Dead(); len(dead) != 1 || dead[0].Recipients[0].Address != "zoë@example.net" || dead[0].Reason != mail.ReasonFailed {
		t.Errorf("dead letters: %+v", dead)
	}
}
