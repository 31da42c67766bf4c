package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
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
	if e.From != (Address{Name: "Doe, J", Email: "j@example.com"}) || e.To[0].Name != "Ann" || e.To[1].Email != "b@example.net" {
		t.Errorf("addresses: %+v", e)
	}
	if got := e.Recipients(); len(got) != 4 || got[3] != (Recipient{Index: 3, Address: `"d d"@example.net`}) {
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
		{with(`"sbuject":"x"`), "sbuject", "no such field"},
		{with(`"Subject":"x"`), "Subject", "no such field"},
		{with(`"text":"twice"`), "text", "duplicate"},
		{with(`"subject":7`), "subject", "number"},
		{with(`"to":[]`), "to", "duplicate"},
		{`{"from":"a@example.com","to":[7],"text":""}`, "to[0]", "number"},
		{`{"from":"a@example.com","to":[{"mail":"x"}],"text":""}`, "to[0].mail", "no such field"},
		{`{"from":"a@example.com","to":[],"text":""}`, "to", "no recipient"},
		{`{"from":"a@example.com","to":["b@example.net"]}`, "text", "missing"},
		{`{"to":["b@example.net"],"text":""}`, "from", "empty"},
		{`{"from":"a@example.com","to":["b"],"text":""}`, "to[0]", "no @"},
		{`{"from":"a@example.com","to":["b@x> SIZE=1 <"],"text":""}`, "to[0]", "behind the @"},
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
		{with(`"relay":"other"`), "relay", "no such field"},
		{"{\"from\":\"a@example.com\",\"to\":[\"b@example.net\"],\"text\":\"\xff\"}", "", "UTF-8"},
		{strings.Repeat("[", 20000), "", ""},
		{with(`"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000)), "", ""},
	} {
		_, err := Decode(nil, []byte(c.body))
		bad, ok := errors.AsType[*EnvelopeError](err)
		if !ok || !strings.HasPrefix(bad.Field, c.field) || !strings.Contains(bad.Error(), c.word) || bad.Reason != ReasonBadEnvelope {
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

func TestDecodeSpread(t *testing.T) {
	t.Parallel()
	rcpts := strings.TrimSuffix(strings.Repeat(`"x@example.net",`, 1000), ",")
	body := fmt.Sprintf(`{"from":"a@example.com","to":[%s],"text":%q}`, rcpts, strings.Repeat("x", 300<<10))
	_, err := Decode(nil, []byte(body))
	if bad, ok := errors.AsType[*EnvelopeError](err); !ok || bad.Reason != ReasonTooLarge {
		t.Errorf("error %v, want reason too-large", err)
	}
}

func TestEventSubjectIsTheBrokersPartition(t *testing.T) {
	t.Parallel()
	// FNV-1a 32 of "a" is 0xe40c292c; modulo 4096 that is 0x92c.
	if got := (Line{Lane: "bulk", ID: "a"}).EventSubject(); got != "mail.event.bulk.2348" {
		t.Errorf("got %s", got)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"order-1": "order-1", strings.Repeat("a", 64): strings.Repeat("a", 64),
		"": "_47DEQpj8HBSa-_TImW-5JC", "a.b": "_9wDLYhCMvuTIFWoG2LWQH-",
	} {
		got := Token(id)
		if len(want) == 23 && len(got) == 23 && got[0] == '_' {
			continue
		}
		if got != want {
			t.Errorf("Token(%q) = %q, want %q", id, got, want)
		}
	}
	if Token("a.b") == Token("a.c") || Token(Token("a.b")) != Token("a.b") {
		t.Error("tokens have to differ where ids do, and to stand for themselves")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(minimal))
	f.Add([]byte(`{"from":{"email":"a@b"},"to":["<x@y>"],"text":"","headers":{"a":"b"}}`))
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
		a, err := ParseAddress(s)
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
