package compose

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"mime"
	netmail "net/mail"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/emersion/go-message"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// checkMessage checks what is promised of every message, and reads back what the
// envelope says.
func checkMessage(t testing.TB, e *schema.Envelope, m *Message, b []byte) {
	t.Helper()
	checkBytes(t, m, b)
	sent, err := netmail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("read the message: %v\n%s", err, b)
	}
	for name, list := range map[string][]mail.Address{"From": {e.From}, "Sender": sender(e), "To": e.To, "Cc": e.Cc, "Reply-To": e.ReplyTo, "Bcc": nil} {
		if got, want := readAddresses(t, sent.Header.Get(name)), wantAddresses(list); !slices.EqualFunc(got, want, sameButTag) {
			t.Errorf("%s reads %q, want %q", name, got, want)
		}
	}
	if got := readText(t, sent.Header.Get("Subject")); got != e.Subject {
		t.Errorf("Subject reads %q, want %q", got, e.Subject)
	}
	for name, values := range e.Headers {
		if !strings.EqualFold(name, "date") && !strings.EqualFold(name, "message-id") {
			var got []string
			for _, v := range sent.Header[textproto.CanonicalMIMEHeaderKey(name)] {
				got = append(got, readText(t, v))
			}
			if !slices.Equal(got, values) {
				t.Errorf("%s reads %q, want %q", name, got, values)
			}
			if !bytes.Contains(b, []byte("\r\n"+name+":")) {
				t.Errorf("the name %s is changed", name)
			}
		}
	}
	if got, want := readParts(t, b), wantParts(e); !slices.Equal(got, want) {
		t.Errorf("the parts read\n%+v, want\n%+v", got, want)
	}
}

// sender is the list of the field Sender.
func sender(e *schema.Envelope) []mail.Address {
	if e.Sender.Email == "" {
		return nil
	}
	return []mail.Address{e.Sender}
}

// encodedWord is between spaces: what looks like one in a local part is none.
var encodedWord = regexp.MustCompile(` =\?utf-8\?[qb]\?[^? ]*\?=( |\r|$)`)

// checkBytes: RFC 5321 section 2.3.8 and 4.5.3.1.6, and 7 bits.
func checkBytes(t testing.TB, m *Message, b []byte) {
	t.Helper()
	if m.Size != int64(len(b)) || !bytes.HasSuffix(b, []byte("\r\n")) {
		t.Errorf("size %d of %d bytes, ending in %q", m.Size, len(b), b[max(len(b)-2, 0):])
	}
	for line := range strings.SplitSeq(string(b), "\r\n") {
		if len(line) > 998 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line too long or broken: %q", line)
		}
		if encodedWord.MatchString(line) && len(line) > lineLength {
			t.Errorf("line with an encoded word above %d: %q", lineLength, line)
		}
	}
	for _, w := range encodedWord.FindAllString(string(b), -1) {
		if s, err := new(mime.WordDecoder).Decode(strings.TrimSpace(w)); err != nil || !utf8.ValidString(s) {
			t.Errorf("%q does not hold complete characters: %q, %v (RFC 2047 section 5)", w, s, err)
		}
	}
	if eight := slices.ContainsFunc(b, func(c byte) bool { return c >= 0x80 }); eight != m.EightBit || eight && !m.UTF8 && !bytes.Contains(b, []byte("\r\nContent-Transfer-Encoding: 8bit\r\n")) {
		t.Errorf("beyond ASCII: %v, EightBit %v, UTF8 %v", eight, m.EightBit, m.UTF8)
	}
}

func readText(t testing.TB, s string) string {
	t.Helper()
	got, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		t.Errorf("decode %q: %v", s, err)
	}
	return got
}

func readAddresses(t testing.TB, s string) []netmail.Address {
	t.Helper()
	if s == "" || s == "undisclosed-recipients:;" {
		return nil
	}
	list, err := new(netmail.AddressParser).ParseList(withoutIPv6Tag(s))
	if err != nil {
		t.Errorf("read addresses %q: %v", s, err)
	}
	var r []netmail.Address
	for _, a := range list {
		r = append(r, *a)
	}
	return r
}

func sameButTag(got, want netmail.Address) bool {
	return got.Name == withoutIPv6Tag(want.Name) && got.Address == withoutIPv6Tag(want.Address)
}

// withoutIPv6Tag is for net/mail, which reads address literals only without the tag
// that RFC 5321 section 4.1.3 demands.
func withoutIPv6Tag(s string) string { return strings.ReplaceAll(s, "@[IPv6:", "@[") }

// wantAddresses is list as net/mail reads it: without the quotes of a local part.
func wantAddresses(list []mail.Address) []netmail.Address {
	var r []netmail.Address
	for _, a := range list {
		at := strings.LastIndexByte(a.Email, '@')
		local, domain := a.Email[:at], a.Email[at+1:]
		domain = strings.TrimSuffix(domain, ".")
		if !isASCII(domain) {
			domain, _ = mail.ASCIIDomain(domain) // Compose refuses what fails here
		}
		if q, ok := strings.CutPrefix(local, `"`); ok {
			local = unescape(strings.TrimSuffix(q, `"`))
		}
		r = append(r, netmail.Address{Name: a.Name, Address: local + "@" + domain})
	}
	return r
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// part is a leaf of the tree of parts, as a reader sees it.
type part struct {
	Type, Filename, ContentID string
	Attached                  bool
	Body                      string
}

// readParts reads the leaves with go-message.
func readParts(t testing.TB, b []byte) []part {
	t.Helper()
	root, err := message.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("read the message: %v\n%s", err, b)
	}
	var parts []part
	err = root.Walk(func(_ []int, m *message.Entity, err error) error {
		if message.IsUnknownCharset(err) {
			err = nil // up to the producer
		}
		typ, params, terr := m.Header.ContentType()
		if err != nil || terr != nil || strings.HasPrefix(typ, "multipart/") {
			return errors.Join(err, terr)
		}
		body, err := io.ReadAll(m.Body)
		// go-message would decode the name a second time.
		disposition, dparams, _ := mime.ParseMediaType(m.Header.Get("Content-Disposition"))
		p := part{
			Type: typ, Filename: dparams["filename"], ContentID: strings.Trim(m.Header.Get("Content-Id"), "<>"),
			Attached: disposition == "attachment", Body: string(body),
		}
		// Old readers read the name here.
		if name := params["name"]; name != p.Filename {
			t.Errorf("name reads %q, filename %q", name, p.Filename)
		}
		parts = append(parts, p.plain(disposition))
		return err
	})
	if err != nil {
		t.Errorf("read the parts: %v", err)
	}
	return parts
}

// plain has one kind of line end in a text.
func (p part) plain(disposition string) part {
	if disposition == "" {
		p.Body = strings.ReplaceAll(p.Body, "\r\n", "\n")
	}
	return p
}

// wantParts are the leaves in the order in which they must be.
func wantParts(e *schema.Envelope) []part {
	var parts, files []part
	if e.Text != nil {
		parts = append(parts, part{Type: "text/plain", Body: wantText(*e.Text)})
	}
	if e.HTML != nil {
		parts = append(parts, part{Type: "text/html", Body: wantText(*e.HTML)})
	}
	for _, a := range e.Attachments {
		p := part{Filename: a.Filename, ContentID: a.ContentID, Body: string(a.Content), Type: strings.ToLower(a.ContentType)}
		p.Type, _, _ = strings.Cut(p.Type, ";")
		if p.Type == "" {
			p.Type = wantTypes[strings.ToLower(filepath.Ext(a.Filename))]
		}
		if a.ContentID != "" && e.HTML != nil {
			parts = append(parts, p)
		} else {
			p.Attached = true
			files = append(files, p)
		}
	}
	for _, a := range e.Alternatives {
		typ, _, _ := strings.Cut(a.ContentType, ";")
		parts = append(parts, part{Type: typ, Body: wantText(a.Content)})
	}
	return append(parts, files...)
}

// wantTypes are the types of the files in the golden messages.
var wantTypes = map[string]string{
	".txt": "text/plain", ".pdf": "application/pdf", ".jpeg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "": "application/octet-stream", ".exe": "application/octet-stream",
}

// wantText is the text with one kind of line end, and the last line ended.
func wantText(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

const script = `
import base64, email, email.policy, json, sys
m = email.message_from_string(sys.stdin.buffer.read().decode("utf-8"), policy=email.policy.default)
def addresses(name):
    return [[a.display_name, a.username, a.domain] for a in m[name].addresses] if m[name] else []
json.dump({"From": addresses("From"), "To": addresses("To"), "Cc": addresses("Cc"), "Reply-To": addresses("Reply-To"),
  "Subject": str(m["Subject"] or ""), "Defects": [str(d) for p in m.walk() for d in p.defects],
  "Parts": [{"Type": p.get_content_type(), "Filename": p.get_filename(""), "ContentID": str(p["Content-ID"] or "").strip("<>"), "Disposition": p.get_content_disposition() or "",
    "Attached": p.get_content_disposition() == "attachment", "Body": base64.b64encode(p.get_payload(decode=True)).decode()} for p in m.walk() if not p.is_multipart()]}, sys.stdout)
`

// TestPythonReadsTheSame reads the golden messages with another implementation.
func TestPythonReadsTheSame(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed: its email package does not read the golden messages")
	}
	for _, name := range names(t) {
		e := envelope(t, name)
		_, b := compose(t, e)
		cmd := exec.CommandContext(t.Context(), python, "-c", script)
		cmd.Stdin = bytes.NewReader(b)
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			From, To, Cc [][3]string
			ReplyTo      [][3]string `json:"Reply-To"`
			Subject      string
			Defects      []string
			Parts        []struct {
				part
				Disposition string
			}
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		for field, pair := range map[string][2][][3]string{
			"From": {got.From, split([]mail.Address{e.From})}, "To": {got.To, split(e.To)},
			"Cc": {got.Cc, split(e.Cc)}, "Reply-To": {got.ReplyTo, split(e.ReplyTo)},
		} {
			if !slices.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %s reads %q, want %q", name, field, pair[0], pair[1])
			}
		}
		var parts []part
		for _, p := range got.Parts {
			body, err := base64.StdEncoding.DecodeString(p.Body)
			if err != nil {
				t.Fatal(err)
			}
			p.Body = string(body)
			parts = append(parts, p.plain(p.Disposition))
		}
		if got.Subject != e.Subject || !slices.Equal(parts, wantParts(e)) || len(got.Defects) > 0 {
			t.Errorf("%s: reads %q, %+v, %q, want\n%+v", name, got.Subject, parts, got.Defects, wantParts(e))
		}
	}
}

func split(list []mail.Address) [][3]string {
	var r [][3]string
	for _, a := range wantAddresses(list) {
		at := strings.LastIndexByte(a.Address, '@')
		r = append(r, [3]string{a.Name, a.Address[:at], a.Address[at+1:]})
	}
	return r
}
