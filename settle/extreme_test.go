package settle_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	wb "github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/testrun"

	"github.com/nats-io/nats.go"
)

// much is enough to tell a cost that grows with the square from one that does not. most
// is, in full, about what a lane takes of one message, and many how many fields that is:
// the race detector makes large messages slow.
const much = 1 << 20

var (
	most = testrun.Pick(2<<20, 8<<20-71<<10)
	many = testrun.Pick(50_000, 300_000)
)

// fill repeats s up to a size.
func fill(s string) string          { return fillTo(much, s) }
func fillTo(n int, s string) string { return strings.Repeat(s, n/len(s)) }

// extreme is a message of a form that costs much if code is careless;
// with says set it is refused with a sentence that has it.
type extreme struct {
	what   string
	header nats.Header
	body   string
	says   string
}

func extremes() []extreme {
	raw := func(what, body string) extreme { return extreme{what, asMail, body, ""} }
	bad := func(what, body, says string) extreme { return extreme{what, asMail, body, says} }
	inJSON := func(what, field, value, says string) extreme {
		return extreme{what, nil, `{"from":"a@example.com","cc":["b@example.net"],"` + field + `":` + value + `,"text":"x"}`, says}
	}
	var deep, wide, fields, resent strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&deep, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		fmt.Fprintf(&wide, "--b\r\nContent-Type: text/plain; name=%d\r\n\r\n%d\r\n", i, i)
	}
	for i := range many {
		fmt.Fprintf(&fields, "X-%d: %d\r\n", i, i)
		fmt.Fprintf(&resent, "Resent-%d: %d\r\n", i, i)
	}
	head := strings.TrimSuffix(mailHead, "\r\n")
	return []extreme{
		raw("10,000 parts deep", head+deep.String()+"\r\nend\r\n"),
		raw("10,000 parts wide", head+"Content-Type: multipart/mixed; boundary=b\r\n\r\n"+wide.String()+"--b--\r\n"),
		raw("one line", mailHead+fillTo(most, "x")+"\r\n"),
		raw("lone dots", mailHead+fillTo(most, ".\r\n")),
		raw("a line of dots", mailHead+fillTo(most, ".")+"\r\n"),
		raw("empty lines", mailHead+fill("\r\n")),
		raw("a long field", head+"X-Long: "+fillTo(most, "x")+"\r\n\r\nx\r\n"),
		raw("a long field, folded", head+"X-Long: x\r\n"+fill(" y\r\n")+"\r\nx\r\n"),
		raw("many fields", head+fields.String()+"\r\nx\r\n"),
		raw("many resent fields", resent.String()+mailHead+"x\r\n"),
		raw("many Bcc", head+strings.Repeat("Bcc:\r\n", many)+"\r\nx\r\n"),
		raw("a subject of encoded words", head+"Subject: "+fill("=?utf-8?q?a?= ")+"\r\n\r\nx\r\n"),
		raw("a subject of begun words", head+"Subject: "+fill("=?utf-8?q?=?")+"?=\r\n\r\nx\r\n"),
		raw("a subject of words without an end", head+"Subject: "+fill("=?u?q?_")+"?=\r\n\r\nx\r\n"),
		raw("comments side by side", dated+"From: a@example.com\r\nTo: b@example.net "+fill("()")+"\r\n\r\nx\r\n"),
		raw("comments in comments", dated+"From: a@example.com\r\nTo: b@example.net "+strings.Repeat("(", much)+strings.Repeat(")", much)+"\r\n\r\nx\r\n"),
		raw("commas", dated+"From: a@example.com\r\nTo: b@example.net"+fill(",")+"\r\n\r\nx\r\n"),
		raw("groups", dated+"From: a@example.com\r\nTo: "+fill("g:")+"b@example.net;\r\n\r\nx\r\n"),
		raw("routes", dated+"From: a@example.com\r\nTo: <"+fill("@r,")+"@r:b@example.net>\r\n\r\nx\r\n"),
		bad("quotes", "From: a@example.com\r\nTo: "+fill(`"a"`)+"\r\n\r\nx\r\n", "message.To"),
		bad("brackets", "From: a@example.com\r\nTo: "+fill("<")+"\r\n\r\nx\r\n", "message.To"),
		bad("an address without an end", "From: a@example.com\r\nTo: "+fill("a")+"@example.net\r\n\r\nx\r\n", "message.To"),
		bad("an address of controls", "From: a@example.com\r\nTo: "+fillTo(3<<20, "\x01")+"@example.net\r\n\r\nx\r\n", "message.To"),
		raw("the same address", dated+"From: a@example.com\r\nTo: "+fill("a@b,")+"a@b\r\n\r\nx\r\n"),
		bad("no field", fill("x")+"\r\n\r\nx\r\n", "not a header field"),
		bad("only a field's name", fill("x")+":\r\n\r\nx\r\n", "no sender"),
		inJSON("a JSON address", "to", `["`+fill("a")+`@example.net"]`, "to[0]"),
		inJSON("a JSON address of controls", "to", `["`+strings.Repeat(`\u0001`, 3<<20/6)+`@example.net"]`, "to[0]"),
		inJSON("a JSON name of controls", "to", `["`+strings.Repeat(`\u0001`, 3<<20/6)+` <b@example.net>"]`, "to[0]"),
		inJSON("a JSON address of no domain", "to", `["b@`+fill("<")+`"]`, "to[0]"),
		inJSON("a JSON time", "send_at", `"`+fill("2")+`"`, "send_at"),
		inJSON("a JSON id", "id", `"`+fill("2")+`"`, "id"),
		inJSON("a JSON field", fill("f"), `1`, "unknown field"),
		inJSON("a JSON relay", "relay", `"`+fill("r")+`"`, "relay"),
		inJSON("a JSON number", "max_attempts", fill("9"), "max_attempts"),
		inJSON("a JSON header's name", "headers", `{"`+fill("h")+`":"x"}`, "headers."),
		inJSON("a JSON metadata key", "metadata", `{"`+fill("h")+`":"x"}`, "metadata."),
		inJSON("a JSON content id", "attachments", `[{"content":"","content_id":"`+fill("<")+`"}]`, "attachments[0].content_id"),
		inJSON("a JSON content type", "attachments", `[{"content":"","filename":"a","content_type":"`+fill("a/b;")+`"}]`, "attachments[0].content_type"),
		inJSON("a JSON file name", "attachments", `[{"content":"","filename":"`+fill("/")+`"}]`, "attachments[0].filename"),
		inJSON("a JSON message id", "headers", `{"Message-ID":"`+fill("<")+`"}`, "headers.Message-ID"),
		inJSON("a JSON date", "headers", `{"Date":"`+fill("(")+`"}`, "headers.Date"),
	}
}

// dated has what would be added.
const dated = "Date: Mon, 02 Jan 2006 15:04:05 +0000\r\nMessage-ID: <1@example.com>\r\n"

// TestExtremes: each of them is settled in a time that a person waits for, as
// it is or with a sentence of bounded length, and so are its neighbours.
func TestExtremes(t *testing.T) {
	t.Parallel()
	b := &bench{wb.With(t, 15*time.Second)}
	server := b.workWith()
	nc := b.Broker.Producer(t)
	for _, x := range extremes() {
		began := time.Now()
		b.produce(nc, x.header, []byte(x.body))
		b.Settled()
		took := time.Since(began)
		if t.Logf("%s: %s", x.what, took); took > 2*time.Minute {
			t.Errorf("%s took %s", x.what, took)
		}
		got, dead := server.Take(), b.Dead()
		switch {
		case x.says == "" && (len(got) != 1 || len(dead) != 0):
			t.Errorf("%s: sent %d, dead %d", x.what, len(got), len(dead))
		case x.says == "":
			// Bcc alone is taken out.
			if want := strings.ReplaceAll(x.body, "Bcc:\r\n", ""); string(got[0].Data) != want {
				t.Errorf("%s: %d bytes arrived different from the %d", x.what, len(got[0].Data), len(want))
			}
		case len(got) != 0 || len(dead) != 1:
			t.Errorf("%s: sent %d, dead %d", x.what, len(got), len(dead))
		case !strings.Contains(dead[0].Error, x.says) || len(dead[0].Error) > 1024 || string(dead[0].Body) != x.body:
			t.Errorf("%s: %d bytes, %q", x.what, len(dead[0].Body), dead[0].Error)
		}
		for _, l := range dead {
			if err := b.Graves.Discard(t.Context(), l); err != nil {
				t.Fatal(err)
			}
		}
		b.Publish("neighbour", "ann@example.net")
		b.Settled()
		if got := server.Take(); len(got) != 1 {
			t.Errorf("after %s: %d neighbours were sent", x.what, len(got))
		}
	}
}
