package compose

import (
	"bytes"
	"errors"
	netmail "net/mail"
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// withHeader is a mail with that field.
func withHeader(name string, values ...string) *schema.Envelope {
	text := "x"
	return &schema.Envelope{
		From: mail.Address{Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.com"}}, Text: &text, Headers: map[string]schema.Values{name: values},
	}
}

// TestStructuredFields: only a phrase becomes encoded words; what programs read is
// written as it is, or refused.
func TestStructuredFields(t *testing.T) {
	t.Parallel()
	z := func(n int) string { return strings.Repeat("z", n) }
	for _, c := range []struct{ name, value, want string }{ // unfolded
		{"List-Id", "Übersicht der Woche <week.news.example.com>", "=?utf-8?q?=C3=9Cbersicht_der_Woche?= <week.news.example.com>"},
		{"list-id", "Ü, <b> \"c\" <week.example.com>", "=?utf-8?b?w5wsIDxiPiAiYyI=?= <week.example.com>"},
		{"List-Id", "News, of the week <week.example.com>", "News, of the week <week.example.com>"},
		{"List-Id", "<" + z(300) + ".example.com>", "<" + z(300) + ".example.com>"},
		{"List-Id", "=?utf-8?q?=C3=9C?= <w.example.com>", "=?utf-8?q?=C3=9C?= <w.example.com>"},
		{"List-Id", " <w.example.com> ", "<w.example.com>"},
		{"Disposition-Notification-To", "Jürgen <j@example.com>", "=?utf-8?q?J=C3=BCrgen?= <j@example.com>"},
		{"Errors-To", "Jürgen <e@bücher.example.>, \"B, ü\" <b..c@x>, d@y", "=?utf-8?q?J=C3=BCrgen?= <e@xn--bcher-kva.example>, =?utf-8?b?Qiwgw7w=?= <\"b..c\"@x>, d@y"},
		{"Resent-To", "Zoë <zoë@example.net>", "=?utf-8?q?Zo=C3=AB?= <zoë@example.net>"},
		{"Return-Receipt-To", "Jürgen", "=?utf-8?q?J=C3=BCrgen?="},
		{"Mail-Followup-To", "Jürgen <no address>", ""},
		{"Mail-Followup-To", "a <ü>", ""},
		{"Errors-To", "a ü>", ""},
		{"List-Id", "x <wöche.example.com>", ""},
		{"List-Unsubscribe", "<https://example.com/ü/17>, <mailto:out@example.com>", ""},
		{"List-Unsubscribe", "<https://example.com/%C3%BC/17>, <mailto:out@example.com>", "<https://example.com/%C3%BC/17>, <mailto:out@example.com>"},
		{"List-Help", "<mailto:ü@example.com>", ""}, {"List-Archive", "ü", ""}, {"List-Whatever", "ü", ""},
		{"References", "<ü@example.com>", ""}, {"Autocrypt", "addr=ü@example.com", ""}, {"DKIM-Signature", "v=ü", ""},
		{"List-Unsubscribe", "<https://example.com/" + z(950) + ">", "<https://example.com/" + z(950) + ">"},
		{"List-Unsubscribe", "<https://example.com/" + z(2000) + ">", ""},
		{"List-Unsubscribe", "<https://example.com/" + z(900) + ">, <https://example.com/" + z(970) + ">", "<https://example.com/" + z(900) + ">, <https://example.com/" + z(970) + ">"},
		{"X-SMTPAPI", `{"to":["` + z(950) + `"]}`, `{"to":["` + z(950) + `"]}`},
		{"X-SMTPAPI", z(998 - len("X-SMTPAPI: ")), z(998 - len("X-SMTPAPI: "))}, {"X-SMTPAPI", z(998 - len("X-SMTPAPI: ") + 1), ""},
		{"X", "a " + z(997), "a " + z(997)}, {"X", "a " + z(998), ""}, {"X", z(997), ""}, {"X", "a" + z(500) + " " + z(997) + " b", "a" + z(500) + " " + z(997) + " b"},
		{"Autocrypt", "addr=you@example.com; keydata=" + z(1500), ""}, {"Autocrypt", "addr=you@example.com; keydata=" + z(900) + " " + z(900), "addr=you@example.com; keydata=" + z(900) + " " + z(900)},
		{"X-Note", "Grüße", "=?utf-8?b?R3LDvMOfZQ==?="}, {"Comments", "Grüße", "=?utf-8?b?R3LDvMOfZQ==?="},
	} {
		m, err := Compose(withHeader(c.name, c.value), origin, enqueued)
		if c.want == "" {
			if bad, ok := errors.AsType[*schema.EnvelopeError](err); !ok || bad.Field != "headers."+c.name || bad.Reason != mail.ReasonBadEnvelope {
				t.Errorf("%s: %.60s: %v, want it refused", c.name, c.value, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %.60s: %v", c.name, c.value, err)
			continue
		}
		b := bytesOf(t, m)
		checkBytes(t, m, b)
		if m.UTF8 != !isASCII(c.want) {
			t.Errorf("%s: %.60s: UTF8 %v", c.name, c.value, m.UTF8)
		}
		sent, err := netmail.ReadMessage(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if got := sent.Header.Get(c.name); got != c.want {
			t.Errorf("%s: %.60s\nis written %s\nwant       %s", c.name, c.value, got, c.want)
		}
	}
}

// TestLongWordForPeople is encoded in the fields that people read, as ever.
func TestLongWordForPeople(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Comments", "keywords"} {
		e := withHeader(name, strings.Repeat("z", 2000))
		m, b := compose(t, e)
		checkMessage(t, e, m, b)
		if !bytes.Contains(b, []byte("=?utf-8?q?zzz")) {
			t.Errorf("%s: %s", name, b)
		}
	}
	_, err := Compose(withHeader("X-Tag", "a", "b", strings.Repeat("z", 2000)), origin, enqueued)
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); !ok || bad.Field != "headers.X-Tag[2]" {
		t.Errorf("%v, want the third value named", err)
	}
}
