package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// beyondSchema are the rules that JSON Schema cannot express, by their names in
// docs/envelope.md, and how to recognise their errors.
var beyondSchema = map[string]func(field, problem string) bool{
	"address": func(field, problem string) bool {
		if strings.Contains(problem, "recipients") {
			return false
		}
		f, _, _ := strings.Cut(field, "[")
		return slices.Contains([]string{"from", "sender", "to", "cc", "bcc", "reply_to", "envelope.mail_from", "envelope.rcpt_to"}, strings.TrimSuffix(f, ".email"))
	},
	"recipients": func(field, problem string) bool { return field == "to" && strings.Contains(problem, "at most 1000") },
	"id":         func(field, _ string) bool { return field == "id" },
	"header-twice": func(field, problem string) bool {
		return strings.HasPrefix(field, "headers.") && strings.Contains(problem, "different case")
	},
	"header-date":         func(field, _ string) bool { return strings.EqualFold(field, "headers.date") },
	"time":                func(field, _ string) bool { return field == "send_at" || field == "expires_at" },
	"expires-before-send": func(field, problem string) bool { return field == "expires_at" && strings.Contains(problem, "before") },
	"content-type":        func(field, _ string) bool { return strings.HasSuffix(field, "].content_type") },
	"attached-mail": func(field, problem string) bool {
		return strings.HasSuffix(field, "].content") && strings.Contains(problem, "NUL")
	},
	"content-id-twice": func(_, problem string) bool { return strings.Contains(problem, "another attachment's") },
	"raw-mail": func(field, problem string) bool {
		return (field == "raw" || strings.HasPrefix(field, "raw.")) && !strings.Contains(problem, "base64")
	},
}

// goodEnvelopes are the start of the mutations.
func goodEnvelopes() []string {
	raw := base64.StdEncoding.EncodeToString([]byte("From: a@example.com\r\nTo: b@example.net\r\nSubject: x\r\n\r\nhi\r\n"))
	return []string{
		minimal,
		`{"id":"order-1","from":"\"Doe, J\" <j@example.com>","to":["Ann <a@example.net>",{"name":"Bob","email":"b@example.net"}],"cc":["c@[192.0.2.1]"],"bcc":["\"d d\"@example.net"],"reply_to":["r@example.com"],"subject":"s","text":"t","html":"<p>t</p>"}`,
		`{"from":{"email":"jörg@bücher.example"},"cc":["渡辺 <w@例え.example>"],"html":"","headers":{"X-A":"b","Message-ID":"<a@b>","Date":"Mon, 02 Jan 2006 15:04:05 +0000","List-Unsubscribe":"<mailto:x@y>"}}`,
		`{"from":"a@b","bcc":["c@d"],"text":"","attachments":[{"filename":"ä b.pdf","content":"aGFsbG8="},{"content_id":"logo@x","content":"","content_type":"image/png"},{"filename":"x.csv","content":"YQ==","content_type":"text/csv; charset=utf-8"}]}`,
		`{"from":"a@b","sender":{"name":"S","email":"s@b"},"to":["c@d"],"text":"","headers":{"X-Tag":["a","b"],"Message-ID":["<a@b>"],"Date":["Mon, 02 Jan 2006 15:04:05 +0000"]}}`,
		`{"from":"a@b","to":["c@d"],"html":"","alternatives":[{"content_type":"text/calendar; method=REQUEST","content":"BEGIN:VCALENDAR"}],"attachments":[{"filename":"a.eml","content":"` + raw + `","content_type":"message/rfc822"}]}`,
		`{"raw":"` + raw + `"}`,
		`{"raw":"` + raw + `","from":"x@y","to":["z@w"],"envelope":{"mail_from":"","rcpt_to":["q@r","\"s t\"@u"]},"tags":["a"]}`,
		`{"from":"a@b","text":"t","envelope":{"mail_from":"bounces@example.com","rcpt_to":["c@d"]},"tags":["a","b"],"metadata":{"k":"v","l":"m\n"},"relay":"one","max_attempts":7,"send_at":"2026-01-02T03:04:05Z","expires_at":"2026-01-03T03:04:05.25+02:00"}`,
	}
}

// rare breaks rules that few mutations do.
var rare = []string{
	`{"from":"a@b","to":["c@d"],"text":"","send_at":"2026-02-30T00:00:00Z"}`,
	`{"from":"a@b","to":["c@d"],"text":"","send_at":"2026-02-03T00:00:00Z","expires_at":"2026-02-02T00:00:00Z"}`,
	`{"from":"a@b","to":["c@d"],"text":"","attachments":[{"filename":"a.eml","content_type":"message/rfc822","content":"AAAA"}]}`,
}

// odd are values that replace others.
var odd = []any{
	nil, true, 0.0, 1.0, 7.0, 100.0, 101.0, 1.5, -1.0, 1e300, "", " ", "x", "a@b", "A <a@b>", "<a@b>", "<>", "a", "@", "a@", "@b", "a@b>", "a b@c", "a@b c",
	"a\r\nb", "a\x00b", "a\u0085b", "a\u2028b", "a@b\nc", "N\u2029 <a@b>", "a@-b", "a@b-", "a..b@c", ".a.@c", "a@b_c", "a@b.", "a@b..", "a@[1.2.3]", "a@[IPv6:::1]", "a@[::1]", "a@\u0378.x", `"a@b`, `x" <a@b>`,
	"order", "2026-01-02T03:04:05Z", "2026-02-30T00:00:00Z", "2026-01-02", "2026-01-02T03:04:05", "2026-01-02t03:04:05z", "2026-01-02T3:04:05Z", "2026-01-02T03:04:05,5Z",
	"2263-01-01T00:00:00Z", "2262-01-01T00:00:00Z", "2262-01-01T00:00:00+01:00", "1969-12-31T23:00:00-02:00", "1969-12-31T23:00:00Z", "1960-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "2026-01-02T03:04:05+24:00", "2025-01-01T00:00:00Z",
	"YQ==", "YQ=", "YQ", "Y", "YQ==\n", "Y Q=", "a-_=", "YWJj", "YR==", "RnJvbTogYUBiDQoNCg==", "RnJvbTogYUBiClRvOiBjQGQKCgA=",
	"text/csv", "text", "text/", "text/csv; a", "text/csv;", "text/csv; name=x", "TEXT/csv; charset=\"u\"", "multipart/mixed", "Message/rfc822", "message/rfc822 ; x=y", "message/partial", "text/calendar", "TEXT/HTML;x=y", "text/x; charset=latin1", "a b/c", "text/csv; x=é",
	"logo", "<logo>", "lo go", "../x", "a/b", `a\b`, "ü.pdf",
	"<a@b>", "<a@b", "Mon, 02 Jan 2006 15:04:05 +0000", "Mon, 32 Jan 2006 15:04:05 +0000", "tomorrow",
	[]any{}, []any{"a@b"}, []any{nil}, []any{1.0}, []any{[]any{[]any{}}}, []any{map[string]any{}},
	map[string]any{}, map[string]any{"email": "a@b"}, map[string]any{"email": "a@b", "name": "x\n"}, map[string]any{"name": "x"}, map[string]any{"k": "v"}, map[string]any{"k": 1.0}, map[string]any{"": "v"},
	map[string]any{"rcpt_to": []any{}}, map[string]any{"rcpt_to": []any{"a@b"}}, map[string]any{"x": "y"}, map[string]any{"X": "a", "x": "b"}, map[string]any{"Content-Foo": "a"}, map[string]any{"X:": "a"},
	map[string]any{"X": []any{"a", "b"}}, map[string]any{"X": []any{}}, map[string]any{"Message-ID": []any{"<a@b>", "<a@b>"}}, map[string]any{"Date": []any{"x"}},
	map[string]any{"message-id": "x"}, map[string]any{"MESSAGE-ID": "<x@y>"}, map[string]any{"date": "x"}, map[string]any{"bCC": "x"},
	map[string]any{"content": "YQ==", "filename": "x"}, map[string]any{"object": "x", "filename": "x", "content": ""}, map[string]any{"content": "YQ=="},
}

func init() {
	long := func(n int) string { return strings.Repeat("ä", n) }
	for _, n := range []int{64, 65, 900, 901, 128, 129, 250, 251, 254, 255, 256, 257, 1000, 1001, 8000, 8001} {
		odd = append(odd, long(n), strings.Repeat("x", n), strings.Repeat("x", n)+" <a@b>", strings.Repeat("x", n-2)+"@b", "a@"+strings.Repeat("x.", n/2-2)+"x")
	}
	for _, n := range []int{50, 51, 100, 101, 1000, 1001} {
		list, object := make([]any, n), make(map[string]any, n)
		for i := range list {
			list[i] = "a@b"
			object[strings.Repeat("k", i%60+1)+strings.Repeat("-", i/60)] = "v"
		}
		odd = append(odd, list, object)
	}
}

// mutate changes one value in v, at any depth.
func mutate(r *rand.Rand, v any) any {
	switch x := v.(type) {
	case map[string]any:
		if r.IntN(5) == 0 || len(x) == 0 {
			x[pick(r, "x", "sbuject", "Text", "text", "html", "raw", "subject", "relay", "object", "email", "name", "id", "bcc", "content_id", "filename", "date", "x-a")] = odd[r.IntN(len(odd))]
			return x
		}
		k := pick(r, slices.Sorted(maps.Keys(x))...)
		switch r.IntN(8) {
		case 0:
			delete(x, k)
		case 1:
			x[strings.ToUpper(k)] = x[k]
		default:
			x[k] = mutate(r, x[k])
		}
		return x
	case []any:
		switch n := r.IntN(6); {
		case n == 0:
			return append(x, odd[r.IntN(len(odd))])
		case n == 1 && len(x) > 0:
			return append(x, x[r.IntN(len(x))])
		case n > 2 && len(x) > 0:
			i := r.IntN(len(x))
			x[i] = mutate(r, x[i])
			return x
		}
	case string:
		if i := r.IntN(len(x) + 1); r.IntN(3) == 0 {
			return strings.ToValidUTF8(x[:i]+pick(r, "<", ">", "@", "\"", "\\", ",", " ", "\n", "\x00", ".", "é", "\u2028", "=", ":", ";", "/")+x[i:], "?")
		}
	}
	return odd[r.IntN(len(odd))]
}

func pick(r *rand.Rand, s ...string) string { return s[r.IntN(len(s))] }

func compiled(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("envelope.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("envelope.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchemaAndDecoderAgree tries mutations of good envelopes. Decode must refuse
// what the schema refuses, and what Decode alone refuses must be a rule with a name.
func TestSchemaAndDecoderAgree(t *testing.T) {
	t.Parallel()
	s := compiled(t)
	r := rand.New(rand.NewPCG(5, 22))
	const mutations = 10000
	full := `{"from":"a@b","text":"","to":["a@b"],"bcc":["c@d"],"cc":[` + strings.TrimSuffix(strings.Repeat(`"a@b",`, 998), ",") + `]}`
	accepted, refused, alone := 0, 0, map[string]int{}
	for n := range mutations {
		var v any
		from := goodEnvelopes()[n%len(goodEnvelopes())]
		if n%100 == 99 {
			from = full
		}
		i := n - len(goodEnvelopes())
		if i >= 0 && i < len(rare) {
			from = rare[i]
		}
		if err := json.Unmarshal([]byte(from), &v); err != nil {
			t.Fatal(err)
		}
		if i >= len(rare) {
			v = mutate(r, v)
		}
		body, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		schemaSays := s.Validate(v)
		_, decoderSays := Decode(nil, body)
		switch {
		case n < len(goodEnvelopes()) && (schemaSays != nil || decoderSays != nil):
			t.Fatalf("a good envelope is refused: %v, %v\n%s", schemaSays, decoderSays, body)
		case schemaSays == nil && decoderSays == nil:
			accepted++
		case schemaSays != nil && decoderSays != nil:
			refused++
		case schemaSays != nil:
			t.Errorf("the schema alone refuses %.300s: %v", body, schemaSays)
		default:
			bad, _ := errors.AsType[*EnvelopeError](decoderSays)
			name := ruleOf(bad)
			if name == "" {
				t.Errorf("the decoder alone refuses %.300s: %v", body, bad)
			}
			alone[name]++
		}
	}
	t.Logf("%d mutations: both accept %d, both refuse %d, rules beyond the schema %v", mutations, accepted, refused, alone)
	for name := range beyondSchema {
		if alone[name] == 0 {
			t.Errorf("rule %s was never needed", name)
		}
	}
	if accepted < 500 || refused < 500 {
		t.Errorf("accepted %d, refused %d: the mutations are one-sided", accepted, refused)
	}
}

func ruleOf(bad *EnvelopeError) string {
	for _, name := range slices.Sorted(maps.Keys(beyondSchema)) {
		if beyondSchema[name](bad.Field, bad.Problem) {
			return name
		}
	}
	return ""
}

// TestRulesBeyondTheSchemaAreWritten: the page has each of them.
func TestRulesBeyondTheSchemaAreWritten(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../docs/envelope.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range beyondSchema {
		if !strings.Contains(string(doc), "| `"+name+"` |") {
			t.Errorf("docs/envelope.md does not list rule %s", name)
		}
	}
}
