package schema

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/mail"
)

const minimal = `{"from":"a@example.com","to":["b@example.net"],"text":""}`

func TestDecode(t *testing.T) {
	t.Parallel()
	e, err := Decode(map[string][]string{"content-type": {"application/json; charset=utf-8"}, "X-Own": {"1"}}, []byte(`{
		"id":"order-1","from":"\"Doe, J\" <j@example.com>","to":["Ann <a@example.net>",{"name":"Bob","email":"b@example.net"}],
		"cc":["c@[192.0.2.1]"],"bcc":["\"d d\"@example.net"],"reply_to":["r@example.com"],"subject":"=?utf-8?q?no?=","text":"hi",
		"headers":{"X-A":"b"},"tags":["t"],"metadata":{"k":"v"},"send_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-03T03:04:05Z",
		"max_attempts":7,"envelope":{"mail_from":""}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.From != (mail.Address{Name: "Doe, J", Email: "j@example.com"}) || e.To[0].Name != "Ann" || e.To[1].Email != "b@example.net" {
		t.Errorf("addresses: %+v", e)
	}
	if got := e.Recipients(); len(got) != 4 || got[3] != (mail.Recipient{Index: 3, Address: `"d d"@example.net`}) {
		t.Errorf("recipients: %+v", got)
	}
	if e.ReversePath() != "" {
		t.Errorf("reverse path %q, want the null path", e.ReversePath())
	}
	if !e.SendAt.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("send_at: %v", e.SendAt)
	}
}

func TestDecodeNamesTheField(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return strings.TrimSuffix(minimal, "}") + "," + more + "}" }
	many := strings.Repeat(`"x@example.net",`, MaxRecipients)
	for _, c := range []struct{ body, field, word string }{
		{``, "", "empty"},
		{`[]`, "", "array"},
		{`{`, "", "JSON"},
		{minimal + `x`, "", "JSON"},
		{minimal + `{}`, "", "JSON"},
		{with(`"sbuject":"x"`), "sbuject", "unknown field"},
		{with(`"Subject":"x"`), "Subject", "unknown field"},
		{with(`"text":"twice"`), "text", "duplicate"},
		{with(`"headers":{"X-A":"b","X-A":"c"}`), "headers.X-A", "duplicate"},
		{with(`"envelope":{"mail_from":"","mail_from":""}`), "envelope.mail_from", "duplicate"},
		{with(`"subject":null`), "subject", "omit the field"},
		{with(`"cc":null`), "cc", "omit the field"},
		{with(`"Reply_To":[]`), "Reply_To", "spelled reply_to"},
		{with(`"subject":7`), "subject", "number"},
		{with(`"to":[]`), "to", "duplicate"},
		{`{"from":"a@example.com","to":[7],"text":""}`, "to[0]", "number"},
		{`{"from":"a@example.com","to":[{"mail":"x"}],"text":""}`, "to[0].mail", "unknown field"},
		{`{"from":"a@example.com","to":[],"text":""}`, "to", "no recipient"},
		{`{"from":"a@example.com","to":["b@example.net"]}`, "text", "missing"},
		{`{"to":["b@example.net"],"text":""}`, "from", "empty"},
		{`{"from":"a@example.com","to":["b"],"text":""}`, "to[0]", "no @"},
		{`{"from":"a@example.com","to":["b@x> SIZE=1 <"],"text":""}`, "to[0]", "after the @"},
		{`{"from":"a@example.com","to":["b\r\nRCPT TO:<c@x>@y"],"text":""}`, "to[0]", "line break"},
		{`{"from":"a@example.com","to":["<>"],"text":""}`, "to[0]", "empty"},
		{`{"from":"a@example.com","to":[` + many + `"y@example.net"],"text":""}`, "to", "1001"},
		{with(`"subject":"a\nBcc: x@y"`), "subject", "line break"},
		{with(`"subject":"a\u2028b"`), "subject", "line break"},
		{`{"from":"a@example.com","to":["b@example.net"],"text":"a\u0000"}`, "text", "NUL"},
		{with(`"headers":{"To":"x"}`), "headers.To", "own fields"},
		{with(`"headers":{"Content-Type":"x"}`), "headers.Content-Type", "own fields"},
		{with(`"headers":{"X-A":"b\r\nBcc: c"}`), "headers.X-A", "line break"},
		{with(`"headers":{"X A":"b"}`), "headers.X A", "name"},
		{with(`"headers":{"X-A":"b","x-a":"c"}`), "headers.", "twice"},
		{with(`"max_attempts":101`), "max_attempts", "100"},
		{with(`"max_attempts":1.5`), "max_attempts", ""},
		{with(`"send_at":"tomorrow"`), "send_at", ""},
		{with(`"send_at":"2263-01-01T00:00:00Z"`), "send_at", "2261"},
		{with(`"send_at":"2026-01-02T00:00:00Z","expires_at":"2026-01-01T00:00:00Z"`), "expires_at", "before"},
		{with(`"id":"` + strings.Repeat("x", 257) + `"`), "id", "256"},
		{with(`"id":" x"`), "id", "space"},
		{with(`"envelope":{"mail_from":"nobody"}`), "envelope.mail_from", "no @"},
		{with(`"envelope":{"rcpt_to":["a@b","c"]}`), "envelope.rcpt_to[1]", "no @"},
		{with(`"tags":["a\rb"]`), "tags[0]", "line break"},
		{with(`"relay":""`), "relay", "1 to 32"},
		{"{\"from\":\"a@example.com\",\"to\":[\"b@example.net\"],\"text\":\"\xff\"}", "", "UTF-8"},
		{strings.Repeat("[", 20000), "", ""},
		{with(`"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), "", ""},
	} {
		_, err := Decode(nil, []byte(c.body))
		bad, ok := errors.AsType[*EnvelopeError](err)
		if !ok || !strings.HasPrefix(bad.Field, c.field) || !strings.Contains(bad.Error(), c.word) || bad.Reason != mail.ReasonBadEnvelope {
			t.Errorf("%.80s: error %.200v, want field %q and the word %q", c.body, err, c.field, c.word)
		}
	}
}

func TestDecodeHeaders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, value string
		good        bool
	}{
		{"Nats-Msg-Id", "x", true}, {"Nats-Rollup", "all", true}, {"X-Own", "v", true},
		{"Postrider-Hop", "3", false}, {"postrider-anything", "", false},
		{"Mail-Send-At", "2026-01-02T00:00:00Z", false}, {"mail-sendat", "x", false},
		{"Content-Type", "application/json", true}, {"content-type", "text/html", false}, {"Content-Type", "", false},
		{"X-Big", strings.Repeat("x", MaxProducerHeaders), false},
		{"X-Big", strings.Repeat("x", MaxProducerHeaders-len("X-Big: \r\n")), true},
	} {
		_, err := Decode(map[string][]string{c.name: {c.value}}, []byte(minimal))
		if (err == nil) != c.good {
			t.Errorf("%s: %.20q: error %v, want good %v", c.name, c.value, err, c.good)
		}
	}
}

// TestMessageWithoutItsHeader: whoever forgets the NATS header of a message reads
// which one, and not that it is no JSON.
func TestMessageWithoutItsHeader(t *testing.T) {
	t.Parallel()
	for _, body := range []string{message, "Received: x\n\nhi", "From: a@b\n"} {
		_, err := Decode(map[string][]string{"Mail-Tag": nil}, []byte(body))
		if err == nil || !strings.Contains(err.Error(), "JSON") {
			t.Errorf("beside Mail-*: %v", err)
		}
		const want = "header Content-Type: is missing, and the body begins like a message, not like JSON: publish a message with the NATS header Content-Type: message/rfc822"
		if _, err := Decode(nil, []byte(body)); err == nil || err.Error() != want {
			t.Errorf("%.20q: %v", body, err)
		}
	}
	for _, body := range []string{"hello", "{:}", `"a":1`, "true", ": x", "[a: b"} {
		if _, err := Decode(nil, []byte(body)); err == nil || strings.Contains(err.Error(), "Content-Type") {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func TestDecodeSpread(t *testing.T) {
	t.Parallel()
	rcpts := strings.TrimSuffix(strings.Repeat(`"x@example.net",`, 1000), ",")
	body := fmt.Sprintf(`{"from":"a@example.com","to":[%s],"text":%q}`, rcpts, strings.Repeat("x", 300<<10))
	_, err := Decode(nil, []byte(body))
	if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Reason != mail.ReasonTooLarge {
		t.Errorf("error %v, want reason too-large", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(`{"from":{"email":"a@b"},"to":["<x@y>"],"text":"","headers":{"a":"b"}}`))
	for _, good := range goodEnvelopes() {
		f.Add([]byte(good))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := Decode(nil, body)
		if err != nil {
			if _, ok := errors.AsType[*EnvelopeError](err); !ok {
				t.Fatalf("error %T, want *EnvelopeError", err)
			}
			return
		}
		for _, r := range e.Recipients() {
			if strings.ContainsAny(r.Address, "\r\n\x00") {
				t.Fatalf("address %q got through", r.Address)
			}
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"a@b", "N <a@b>", `"q\"<" <a@b>`, `"a b"@c`, "a@[IPv6:::1]", "a@b> X <"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := mail.ParseAddress(s)
		if err != nil || a.Validate() != nil {
			return
		}
		if strings.ContainsAny(a.Email, "\r\n\x00") || strings.Count(a.Email, "@") < 1 {
			t.Fatalf("%q passed as %+v", s, a)
		}
		if !strings.Contains(a.Email, `"`) && strings.ContainsAny(a.Email, "<> ") {
			t.Fatalf("%q passed as %+v", s, a)
		}
	})
}

// message is a raw message.
const message = "From: Ann <ann@example.com>\r\nTo: Bob <bob@example.net>, carol@example.net\r\nCc: bob@example.net\r\nBcc: dave@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhi\r\n"

var asMessage = []string{"Message/RFC822"}

func TestDecodeMessage(t *testing.T) {
	t.Parallel()
	e, err := Decode(map[string][]string{"content-type": asMessage}, []byte(message))
	if err != nil {
		t.Fatal(err)
	}
	if e.ReversePath() != "ann@example.com" || e.Subject != "Grüße" || string(e.Raw) != message {
		t.Errorf("%+v", e)
	}
	if got := fmt.Sprint(e.Recipients()); got != "[{0 bob@example.net} {1 carol@example.net} {2 dave@example.net}]" {
		t.Errorf("recipients: %s", got)
	}
	e, err = Decode(map[string][]string{
		"Content-Type": asMessage, "mail-id": {"x"}, "Mail-From": {""}, "MAIL-TO": {"zoe@example.net"}, "Mail-To": {"Ann <ann@example.net>", "bob@example.net"},
		"Mail-Send-At": {"2026-01-02T03:04:05Z"}, "Mail-Expires-At": {"2026-01-03T03:04:05Z"}, "Mail-Max-Attempts": {"3"}, "Mail-Relay": {"r"},
		"Mail-Tag": {"a", "b"}, "Mail-Meta-Order": {"17"}, "mail-meta-k": {"v\n"}, "Nats-Rollup": {"all"}, "X-Own": {"1"},
	}, []byte("Subject: x\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(e.Recipients()); got != "[{0 zoe@example.net} {1 ann@example.net} {2 bob@example.net}]" {
		t.Errorf("recipients: %s", got)
	}
	if e.ID != "x" || e.ReversePath() != "" || e.SendAt.IsZero() || e.ExpiresAt.IsZero() || e.MaxAttempts != 3 || e.Relay != "r" ||
		fmt.Sprint(e.Tags) != "[a b]" || e.Metadata["Order"] != "17" || e.Metadata["k"] != "v\n" {
		t.Errorf("%+v", e)
	}
}

func TestDecodeMessageNamesTheHeader(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, word string }{
		{"Mail-Sendat", "2026-01-02T03:04:05Z", "unknown header"}, {"Mail-Meta-", "x", "unknown header"}, {"Mail-", "", "unknown header"},
		{"Mail-From", "<>", "empty"}, {"Mail-From", "a b@c", "dot-atom"}, {"mail-to", "a@b> SIZE=1 <", "after the @"}, {"Mail-To", "", "empty"}, {"Mail-To", "a@b, c@d", "dot-atom"},
		{"Mail-Send-At", "tomorrow", "RFC 3339"}, {"Mail-Send-At", "2263-01-01T00:00:00Z", "2261"}, {"Mail-Expires-At", "", "RFC 3339"},
		{"Mail-Max-Attempts", "0", "1 to 100"}, {"Mail-Max-Attempts", "1.5", "integer"}, {"Mail-Relay", "a b", "a-z"}, {"Mail-Tenant", "A", "a-z"},
		{"Mail-Id", " x", "space"}, {"Mail-Id", "", "empty"}, {"Mail-Id", "\xff", "UTF-8"}, {"Mail-Tag", "a\x00", "control"}, {"Mail-Tag", "\xff", "UTF-8"}, {"Mail-Meta-X", "\x00", "NUL"}, {"Mail-Meta-X", "\xff", "UTF-8"},
		{"content-type", "text/html", "neither"}, {"Postrider-Hop", "1", "reserved"},
	} {
		h := map[string][]string{"Content-Type": asMessage, c.name: {c.value}}
		_, err := Decode(h, []byte(message))
		bad, ok := errors.AsType[*EnvelopeError](err)
		if c.name == "content-type" {
			c.name, c.word = HeaderContentType, "2 times"
		}
		if !ok || bad.Field != "header "+c.name || !strings.Contains(bad.Problem, c.word) || bad.Reason != mail.ReasonBadEnvelope {
			t.Errorf("%s: %q: %v, want the header and %q", c.name, c.value, err, c.word)
		}
		// With JSON each of them is refused, known or not.
		if _, err := Decode(map[string][]string{c.name: {c.value}}, []byte(minimal)); err == nil && c.name != HeaderContentType {
			t.Errorf("%s passes beside JSON", c.name)
		}
	}
	twice := map[string][]string{"Content-Type": asMessage, "Mail-Id": {"a", "b"}, "Mail-To": {"a@b"}}
	if _, err := Decode(twice, []byte(message)); err == nil || err.Error() != "header Mail-Id: given 2 times" {
		t.Error(err)
	}
	// Two spellings of one header are found in the same order every time.
	twice = map[string][]string{"Content-Type": asMessage, "mail-id": {"a"}, "Mail-Id": {"b"}}
	if _, err := Decode(twice, []byte(message)); err == nil || err.Error() != "header mail-id: given twice, also as Mail-Id" {
		t.Error(err)
	}
	if _, err := Decode(map[string][]string{"mail-send-at": {"x"}}, []byte(minimal)); err == nil || !strings.Contains(err.Error(), "use the field send_at") {
		t.Error(err)
	}
}

// TestDecodeMail: what is refused in a raw message, in both forms.
func TestDecodeMail(t *testing.T) {
	t.Parallel()
	const rest = "From: a@b\r\nTo: c@d\r\n"
	received := strings.Repeat("Received: from a by b; Mon, 02 Jan 2006 15:04:05 +0000\r\n", MaxReceived)
	for _, c := range []struct{ mail, field, word string }{
		{"", "", "empty"},
		{"\r\nFrom: a@b\r\n", "", "not begin with a header field"},
		{"Subject: x\rBcc: y@z\r\n" + rest, "", "line 1: contains a CR"},
		{rest + "X: y\r\r\n\r\n", "", "line 3: contains a CR"},
		{rest + "\r", "", "a CR"},
		{rest + "X: y\x00\r\n\r\n", "", "line 3: contains a NUL"},
		{rest + "\r\nbo\x00dy", "", "body contains a NUL"},
		{"From a@b Mon Jan  2 15:04:05 2006\n", "", "empty"},
		{"From a@b Mon\x00\n" + rest, "", "line 1: contains a NUL"},
		{"From a@b\rMon\n" + rest, "", "line 1: contains a CR"},
		{"From a@b Mon\n Jan\n" + rest, "", "begins with a space"},
		{rest + "From a@b Mon Jan  2 15:04:05 2006\n", "", "line 3: \"From a@b"},
		{"References: <a@b>\n<c@d>\n" + rest, "", "line 2: \"<c@d>\""},
		{" Subject: x\r\n" + rest, "", "begins with a space"},
		{rest + "no field\r\n\r\n", "", "line 3: \"no field\""},
		{rest + "Sübject: x\r\n\r\n", "", "line 3"},
		{rest + ": x\r\n\r\n", "", "line 3"},
		{"To: c@d\r\n\r\n", "", "no From"},
		{"From: a@b\r\n\r\n", "", "no recipient"},
		{"From: a@b\r\nTo: undisclosed-recipients:;\r\n\r\n", "", "no recipient"},
		{"From: \r\nTo: c@d\r\n\r\n", ".From", "no address"},
		{"From: a@b\r\nTo: c@d e@f\r\n\r\n", ".To", "dot-atom"},
		{"From: a@b\r\nTo: <c@d> <e@f>\r\n\r\n", ".To", "comma"},
		{"From: a@b\r\nTo: <c@d\r\n\r\n", ".To", "no >"},
		{"From: a@b\r\nTo: <>\r\n\r\n", ".To", "empty"},
		{"From: a@b\r\nTo: c@d (x\r\n\r\n", ".To", "comment"},
		{"From: a@b\r\nCC: \"c@d\r\n\r\n", ".CC", "quoted string"},
		{"Sender: a@b, c@d\r\n" + rest, ".Sender", "2 addresses"},
		{"From: a@b\r\nTo: " + strings.Repeat(" x@y.example,\r\n", 1) + manyAddresses(1001) + "\r\n\r\n", "", "1002 recipients"},
		{received + "Received: x\r\n" + rest, "", "loops"},
	} {
		_, err := Decode(map[string][]string{"Content-Type": {"message/rfc822"}}, []byte(c.mail))
		bad, ok := errors.AsType[*EnvelopeError](err)
		if !ok || bad.Field != "message"+c.field || !strings.Contains(bad.Problem, c.word) {
			t.Errorf("%.60q: %v, want field message%s and %q", c.mail, err, c.field, c.word)
		}
		if ok && (bad.Reason == mail.ReasonLoop) != (c.word == "loops") {
			t.Errorf("%.60q: reason %s", c.mail, bad.Reason)
		}
		body, err := json.Marshal(&Envelope{Raw: []byte(c.mail)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Decode(nil, body)
		if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Field != "raw"+c.field || !strings.Contains(bad.Problem, c.word) {
			t.Errorf("%.60q as raw: %v", c.mail, err)
		}
	}
	if _, err := Decode(map[string][]string{"Content-Type": asMessage}, []byte(received+rest)); err != nil {
		t.Errorf("%d Received: %v", MaxReceived, err)
	}
}

func manyAddresses(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " r%d@example.net,", i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// TestFirstLinesAreTakenOff in both forms, and nothing else is.
func TestFirstLinesAreTakenOff(t *testing.T) {
	t.Parallel()
	const rest = "From: a@b\r\nTo: c@d\r\nSubject: x\r\n\r\nFrom here\r\n"
	for _, first := range []string{"", "\ufeff", "From a@b Mon Jan  2 15:04:05 2006\n", ">From a@b Mon\r\n", "\ufeffFrom a\n>From b\n"} {
		body, err := json.Marshal(&Envelope{Raw: []byte(first + rest)})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			header map[string][]string
			body   []byte
		}{{map[string][]string{"Content-Type": asMessage}, []byte(first + rest)}, {nil, body}} {
			e, err := Decode(c.header, c.body)
			if err != nil || string(e.Raw) != rest || e.ReversePath() != "a@b" || e.Subject != "x" || e.To[0].Email != "c@d" {
				t.Errorf("%q: %v, %+v", first, err, e)
			}
		}
	}
}

// TestByteOrderMark: the one of UTF-8 is taken off, before JSON as before a message;
// text in UTF-16 or UTF-32 is called that, with a mark and without.
func TestByteOrderMark(t *testing.T) {
	t.Parallel()
	if e, err := Decode(nil, []byte("\ufeff"+minimal)); err != nil || e.From.Email != "a@example.com" {
		t.Errorf("%+v, %v", e, err)
	}
	if _, err := Decode(nil, []byte("\ufeff"+message)); err == nil || !strings.Contains(err.Error(), "begins like a message") {
		t.Errorf("a message without its header: %v", err)
	}
	wide := func(s string, unit int, order binary.AppendByteOrder) (b []byte) {
		for _, c := range s {
			if b = order.AppendUint16(b, uint16(c)); unit == 4 {
				b = order.AppendUint32(b[:len(b)-2], uint32(c))
			}
		}
		return b
	}
	for _, before := range []string{mark, ""} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			for unit, name := range map[int]string{2: "UTF-16", 4: "UTF-32"} {
				if _, err := Decode(nil, wide(before+minimal, unit, order)); err == nil || err.Error() != "the envelope is "+name+", must be UTF-8" {
					t.Errorf("%q %s %s: %v", before, name, order, err)
				}
				if _, err := Decode(map[string][]string{"Content-Type": asMessage}, wide(before+message, unit, order)); err == nil || !strings.HasSuffix(err.Error(), "the message is "+name+", must be UTF-8") {
					t.Errorf("%q %s %s, a message: %v", before, name, order, err)
				}
			}
		}
	}
	for _, headers := range []map[string][]string{nil, {"Content-Type": asMessage}} {
		if _, err := Decode(headers, []byte(mark+mark+minimal)); err == nil || !strings.Contains(err.Error(), "begins with two byte order marks") {
			t.Errorf("%v: two marks: %v", headers, err)
		}
	}
	for _, body := range []string{"\ufeff", "\ufeff\ufeff" + minimal, " \ufeff" + minimal, minimal + "\ufeff", "\xff\xfe"} {
		if _, err := Decode(nil, []byte(body)); err == nil {
			t.Errorf("%q is accepted", body)
		}
	}
}

// TestSendmailT: the recipients come from the message.
func TestSendmailT(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ mail, from, to string }{
		{"From: a@b, x@y\r\nSender: s@b\r\nTo: c@d\r\n", "s@b", "c@d"},
		{"From: a@b\r\nTo: \"Doe, J <x@y>\" <j@d>,\r\n\t(not x@y) k@d (K), G: l@d, m@d;, <@r,@s:n@d>\r\ntO : o@d\r\n", "a@b", "j@d k@d l@d m@d n@d o@d"},
		{"From: \"J\\\" Q\" <a . b @ c>\r\nTo: \"a b\"@c, d@[IPv6:::1], jörg@bücher.example\r\n", "a.b@c", "\"a b\"@c d@[IPv6:::1] jörg@bücher.example"},
		{"From: =?iso-2022-jp?b?GyRCO0MbKEI=?= <a@b>\r\nTo: K\xe4se <c@d>; e@f\r\n", "a@b", "c@d e@f"},
		{"Received: x\r\nResent-From: r@b\r\nResent-To: c@d\r\nResent-Bcc: e@f\r\nResent-To: old@d\r\nFrom: a@b\r\nTo: x@y\r\n", "r@b", "c@d e@f"},
		{"Resent-From: r@b\r\nFrom: a@b\r\nTo: x@y\r\n", "a@b", "x@y"},
		{"From: a@b\nBcc: c@d,\n c@d\n", "a@b", "c@d"},
	} {
		e, err := Decode(map[string][]string{"Content-Type": asMessage}, []byte(c.mail))
		if err != nil {
			t.Errorf("%q: %v", c.mail, err)
			continue
		}
		var to []string
		for _, r := range e.Recipients() {
			to = append(to, r.Address)
		}
		if e.ReversePath() != c.from || strings.Join(to, " ") != c.to {
			t.Errorf("%q: from %s to %s, want %s to %s", c.mail, e.ReversePath(), to, c.from, c.to)
		}
	}
}

func TestAttachmentRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ attachment, field, word string }{
		{`{"filename":"a"}`, "attachments[0].content", "missing"},
		{`{"content":""}`, "attachments[0].filename", "missing"},
		{`{"filename":"a","content":"YQ"}`, "attachments[0].content", "base64"},
		{`{"filename":"a","content":"YQ==\n"}`, "attachments[0].content", "base64"},
		{`{"filename":"a","object":"b"}`, "attachments[0].object", "reserved"},
		{`{"filename":"../a","content":""}`, "attachments[0].filename", "directory"},
		{`{"filename":"a\r\nb","content":""}`, "attachments[0].filename", "line break"},
		{`{"filename":"a","content":"","content_type":"text"}`, "attachments[0].content_type", "media type"},
		{`{"filename":"a","content":"","content_type":"a/b\r\nX: y"}`, "attachments[0].content_type", "media type"},
		{`{"filename":"a","content":"","content_type":"text/plain; name=x"}`, "attachments[0].content_type", "goes into filename"},
		{`{"filename":"a","content":"","content_type":"message/partial; id=x"}`, "attachments[0].content_type", "octet-stream"},
		{`{"filename":"a","content":"","content_type":"multipart/mixed; boundary=x"}`, "attachments[0].content_type", "octet-stream"},
		{`{"filename":"a","content":"AA==","content_type":"Message/RFC822; x=y"}`, "attachments[0].content", "NUL"},
		{`{"filename":"a","content":"","content_id":"<a>"}`, "attachments[0].content_id", "angle brackets"},
		{`{"content_id":"a","content":""},{"content_id":"a","content":""}`, "attachments[1].content_id", "another"},
		{`{"filename":"a","content":"","Filename":"b"}`, "attachments[0].Filename", "spelled filename"},
		{strings.TrimSuffix(strings.Repeat(`{"filename":"a","content":"aGk="},`, MaxAttachments+1), ","), "attachments[100]", "at most 100"},
	} {
		_, err := Decode(nil, []byte(`{"from":"a@b","to":["c@d"],"text":"","attachments":[`+c.attachment+`]}`))
		if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Field != c.field || !strings.Contains(bad.Problem, c.word) {
			t.Errorf("%.80s: %v, want field %s and %q", c.attachment, err, c.field, c.word)
		}
	}
	// PHP escapes slashes in base64.
	e, err := Decode(nil, []byte(`{"from":"a@b","to":["c@d"],"text":"","attachments":[{"filename":"a","content":"\/\/8="}]}`))
	if err != nil || string(e.Attachments[0].Content) != "\xff\xff" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestWhatJSONCanSay: a field more than once, a sender, further alternatives.
func TestWhatJSONCanSay(t *testing.T) {
	t.Parallel()
	with := func(more string) string { return strings.TrimSuffix(minimal, "}") + "," + more + "}" }
	e, err := Decode(nil, []byte(with(`"sender":"S <s@b>","headers":{"X-A":["a","b"],"X-B":"c","X-C":["d"]},
		"alternatives":[{"content_type":"text/calendar; method=REQUEST","content":"BEGIN"}],"attachments":[{"content":"","filename":"a","content_type":"message/rfc822"}]`)))
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(e.Headers) != "map[X-A:[a b] X-B:[c] X-C:[d]]" || e.Sender != (mail.Address{Name: "S", Email: "s@b"}) || e.ReversePath() != "s@b" ||
		e.From.Email != "a@example.com" || len(e.Alternatives) != 1 || !e.Attachments[0].IsMessage() {
		t.Errorf("%+v", e)
	}
	h, body, err := e.Encode()
	for _, part := range []string{`"X-A":["a","b"]`, `"X-B":"c"`, `"X-C":"d"`} {
		if err != nil || !strings.Contains(string(body), part) {
			t.Errorf("%s, %v, want %s", body, err, part)
		}
	}
	if again, err := Decode(h, body); err != nil || !reflect.DeepEqual(again, e) {
		t.Errorf("read back: %+v, %v", again, err)
	}
	for _, c := range []struct{ more, field, word string }{
		{`"headers":{"X-A":[]}`, "headers.X-A", "empty"},
		{`"headers":{"X-A":["a",7]}`, "headers.X-A[1]", "a string"},
		{`"headers":{"X-A":["a","b\r\nBcc: c"]}`, "headers.X-A[1]", "line break"},
		{`"headers":{"X-A":[["a"]]}`, "headers.X-A[0]", "a string"},
		{`"headers":{"X-A":{"a":"b"}}`, "headers.X-A", "a string"},
		{`"headers":{"X-A":["a"],"x-a":"b"}`, "headers.x-a", "twice"},
		{`"headers":{"Bcc":["a"]}`, "headers.Bcc", "reserved"},
		{`"headers":{"Message-ID":["<a@b>","<c@d>"]}`, "headers.Message-ID", "2 times"},
		{`"headers":{"date":["","Mon, 02 Jan 2006 15:04:05 +0000"]}`, "headers.date", "2 times"},
		{`"headers":{"X-A":[` + strings.TrimSuffix(strings.Repeat(`"a",`, 101), ",") + `]}`, "headers.X-A[100]", "at most 100"},
		{`"sender":"nobody"`, "sender", "no @"},
		{`"sender":[]`, "sender", "a string"},
		{`"alternatives":[{"content":"x"}]`, "alternatives[0].content_type", "media type"},
		{`"alternatives":[{"content_type":"text/calendar"}]`, "alternatives[0]", "missing"},
		{`"alternatives":[{"content_type":"text/html","content":""}]`, "alternatives[0].content_type", "field html"},
		{`"alternatives":[{"content_type":"image/png","content":""}]`, "alternatives[0].content_type", "attachments"},
		{`"alternatives":[{"content_type":"message/rfc822","content":""}]`, "alternatives[0].content_type", "attachments"},
		{`"alternatives":[{"content_type":"text/x; charset=latin1","content":""}]`, "alternatives[0].content_type", "utf-8"},
		{`"alternatives":[{"content_type":"text/x\r\nX: y","content":""}]`, "alternatives[0].content_type", "media type"},
		{`"alternatives":[{"content_type":"text/x","content":"a\u0000"}]`, "alternatives[0].content", "NUL"},
		{`"alternatives":[` + strings.TrimSuffix(strings.Repeat(`{"content_type":"text/x","content":""},`, 11), ",") + `]`, "alternatives[10]", "at most 10"},
		{`"raw":"YTogYgo=","sender":"a@b"`, "text", "with raw"},
	} {
		_, err := Decode(nil, []byte(with(c.more)))
		if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Field != c.field || !strings.Contains(bad.Problem, c.word) {
			t.Errorf("%.80s: %v, want field %s and %q", c.more, err, c.field, c.word)
		}
	}
}

func TestCheckRelay(t *testing.T) {
	t.Parallel()
	e := &Envelope{Relay: "b"}
	if err := e.CheckRelay("a", "b"); err != nil {
		t.Error(err)
	}
	if err := e.CheckRelay(); err == nil || !strings.HasPrefix(err.Error(), "relay: ") {
		t.Error(err)
	}
}

// hostileSizes are envelopes that are refused before anything is built from them,
// and the field of the error.
func hostileSizes() map[string][2]string {
	keys := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"k%d":"",`, i)
		}
		return strings.TrimSuffix(b.String(), ",")
	}
	with := func(more string) string { return strings.TrimSuffix(minimal, "}") + "," + more + "}" }
	million := keys(1_000_000)
	return map[string][2]string{
		"million-keys":       {"{" + million + "}", "k0"},
		"million-headers":    {with(`"headers":{` + million + `}`), "headers.k100"},
		"million-metadata":   {with(`"metadata":{` + million + `}`), "metadata.k50"},
		"million-recipients": {with(`"cc":[` + strings.TrimSuffix(strings.Repeat(`"a@b",`, 1_000_000), ",") + `]`), "cc[1000]"},
		"deep":               {strings.Repeat("[", 10_000), ""},
		"deep-field":         {with(`"subject":` + strings.Repeat("[", 10_000)), "subject"},
		"deep-address":       {`{"from":` + strings.Repeat(`{"name":`, 10_000), "from.name"},
		"deep-envelope":      {strings.Repeat(`{"envelope":`, 10_000), "envelope.envelope"},
	}
}

func TestHostileSizesAreRefusedFast(t *testing.T) {
	t.Parallel()
	for name, c := range hostileSizes() {
		body := []byte(c[0])
		began := time.Now()
		_, err := Decode(nil, body)
		if took := time.Since(began); took > 200*time.Millisecond { // microseconds, on a quiet machine
			t.Errorf("%s took %v", name, took)
		}
		if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Field != c[1] {
			t.Errorf("%s: %v, want field %q", name, err, c[1])
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add([]byte(message), "Mail-To", "a@b")
	f.Add([]byte("Resent-To: g: a@b;\nFrom: <@x:a@b>\n\n\rbody"), "Mail-Meta-X", "y")
	f.Add([]byte("From: \"a\\\"\" (b(c)) <d . e@[1.2.3.4]>\r\nTo: x@y;z@w\r\n\r\n.\r\n"), "mail-tag", "")
	f.Fuzz(func(t *testing.T, body []byte, name, value string) {
		h := map[string][]string{"Content-Type": {"message/rfc822"}, name: {value}}
		e, err := Decode(h, body)
		if err != nil {
			if _, ok := errors.AsType[*EnvelopeError](err); !ok {
				t.Fatalf("error %T, want *EnvelopeError", err)
			}
			return
		}
		for _, r := range e.Recipients() {
			if err := mail.ValidateAddrSpec(r.Address); err != nil {
				t.Fatalf("recipient got through: %v", err)
			}
		}
		if e.ReversePath() != "" && mail.ValidateAddrSpec(e.ReversePath()) != nil {
			t.Fatalf("sender %q got through", e.ReversePath())
		}
		if _, err := json.Marshal(map[string]any{"tags": e.Tags, "subject": e.Subject, "id": e.ID}); err != nil {
			t.Fatalf("what people read cannot be recorded: %v", err)
		}
	})
}
