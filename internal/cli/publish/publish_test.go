package publish

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

const lane wire.Lane = "normal"

// run runs the command as cmd/publish does; stdin nil is no pipe.
func run(ctx context.Context, args []string, lookup env.Lookup, stdin io.Reader, stdout, stderr io.Writer) int {
	root := Command("publish", lookup)
	root.AddCommand(Schema())
	return cli.Run(ctx, root, args, stdin, stdout, stderr)
}

// desk is a broker and the command.
type desk struct {
	t      *testing.T
	broker *natstest.Broker
	dir    string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return &desk{t: t, broker: natstest.Start(t, lane), dir: t.TempDir()}
}

func (d *desk) run(stdin io.Reader, args ...string) (status int, stdout, stderr string) {
	d.t.Helper()
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { return d.broker.Config.URL, name == "NATS_URL" }
	status = run(d.t.Context(), args, lookup, stdin, &out, &errs)
	return status, out.String(), errs.String()
}

// file writes one and gives its path.
func (d *desk) file(name, content string) string {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// stored are the messages of the lane.
func (d *desk) stored() []*jetstream.RawStreamMsg {
	d.t.Helper()
	s, err := d.broker.Conn.JS().Stream(d.t.Context(), lane.SendStream())
	if err != nil {
		d.t.Fatal(err)
	}
	info, err := s.Info(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := max(info.State.FirstSeq, 1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(d.t.Context(), seq)
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

func TestEveryFlag(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	status, stdout, stderr := d.run(nil, "--from", "Jörg <a@example.com>", "--to", "b@example.net", "--to", "C <c@example.net>", "--cc", "d@example.net",
		"--bcc", "e@example.net", "--reply-to", "f@example.net", "--subject", "Grüße", "--text", "t", "--html", "<p>", "--header", "X-A: b: c", "--lane", "normal",
		"--at", "2100-01-02T03:04:05+01:00", "--expires", "2100-01-03T00:00:00Z", "--max-attempts", "7", "--id", "x", "--tag", "t1", "--tag", "t2", "--meta", "k=v=w",
		"--attach", d.file("Ä.txt", "file"), "--inline", d.file("i.png", "png"), "--inline", "logo="+d.file("l=.gif", "gif"))
	if status != 0 || stdout != "queued x normal/1\n" || stderr != "" {
		t.Fatal(status, stdout, stderr)
	}
	m := d.stored()[0]
	e, err := schema.Decode(m.Header, m.Data)
	if err != nil {
		t.Fatal(err)
	}
	text, html := "t", "<p>"
	want := &schema.Envelope{
		ID: "x", From: mail.Address{Name: "Jörg", Email: "a@example.com"}, To: []mail.Address{{Email: "b@example.net"}, {Name: "C", Email: "c@example.net"}},
		Cc: []mail.Address{{Email: "d@example.net"}}, Bcc: []mail.Address{{Email: "e@example.net"}}, ReplyTo: []mail.Address{{Email: "f@example.net"}},
		Subject: "Grüße", Text: &text, HTML: &html, Headers: map[string]schema.Values{"X-A": {"b: c"}}, Tags: []string{"t1", "t2"}, Metadata: map[string]string{"k": "v=w"},
		SendAt: e.SendAt, ExpiresAt: time.Date(2100, 1, 3, 0, 0, 0, 0, time.UTC), MaxAttempts: 7,
		Attachments: []schema.Attachment{
			{Filename: "Ä.txt", Content: []byte("file")}, {Filename: "i.png", Content: []byte("png"), ContentID: "i.png"}, {Filename: "l=.gif", Content: []byte("gif"), ContentID: "logo"},
		},
	}
	if !reflect.DeepEqual(e, want) || !e.SendAt.Equal(time.Date(2100, 1, 2, 2, 4, 5, 0, time.UTC)) {
		t.Errorf("got  %+v\nwant %+v", e, want)
	}
	if got := m.Header.Get(schema.HeaderMsgID); got != "x" {
		t.Errorf("Nats-Msg-Id %q", got)
	}
	if status, stdout, _ := d.run(nil, "--from", "a@b", "--to", "c@d", "--text", "", "--id", "x", "--json"); status != 0 || stdout != `{"id":"x","lane":"normal","sequence":1,"duplicate":true}`+"\n" {
		t.Error(status, stdout)
	}
}

// TestSeveralAddresses in one flag, as in a header field: a comma at the end and spaces
// are no addresses.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	status, _, stderr := d.run(nil, "--from", " a@b ", "--to", "b@x, \"Doe, C\" <c@x> ,", "--to", "d@x,", "--cc", " e@x,,f@x", "--bcc", `"g,\"h"@x`, "--text", "")
	if status != 0 {
		t.Fatal(stderr)
	}
	e, err := schema.Decode(nil, d.stored()[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	want := []mail.Address{{Email: "b@x"}, {Name: "Doe, C", Email: "c@x"}, {Email: "d@x"}, {Email: "e@x"}, {Email: "f@x"}, {Email: `"g,\"h"@x`}}
	if got := slices.Concat(e.To, e.Cc, e.Bcc); !reflect.DeepEqual(got, want) || e.From.Email != "a@b" {
		t.Errorf("from %q to %+v", e.From.Email, got)
	}
	eml := d.file("x.eml", "From: a@example.com\nTo: b@example.net\n\nhi\n")
	if status, _, stderr = d.run(nil, "eml", "--to", "y@x, z@x,", eml); status != 0 {
		t.Fatal(stderr)
	}
	m := d.stored()[1]
	if e, err = schema.Decode(m.Header, m.Data); err != nil || len(e.Recipients()) != 2 || e.Recipients()[1].Address != "z@x" {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestEnvelopeFiles: what a worker would refuse in a file is refused before it is
// published, and the others are published all the same.
func TestEnvelopeFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good := d.file("good.json", `{"id":"g","from":"a@b","to":["c@d"],"bcc":["e@f"],"text":"hi","tags":["t"],"send_at":"2100-01-01T00:00:00Z"}`)
	plain := d.file("plain.json", `{"from":"a@b","to":["c@d"],"text":"plain"}`)
	raw := d.file("raw.json", `{"raw":"`+base64.StdEncoding.EncodeToString([]byte("From: a@b\r\nTo: c@d\r\nSubject: S\r\n\r\nhi\r\n"))+`"}`)
	bad, eml := d.file("bad.json", `{"from":"a@b","to":["c@d"],"text":"hi","sbuject":"x"}`), d.file("x.eml", "From: a@b\nTo: c@d\n\nhi\n")
	status, stdout, stderr := d.run(strings.NewReader(`{"from":"a@b","to":["c@d"],"text":"piped"}`), good, bad, eml, filepath.Join(d.dir, "missing.json"), raw, "-")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != cli.NoInput || len(lines) != 3 || lines[0] != "queued g normal/1 "+good || !strings.HasSuffix(lines[1], " normal/2 "+raw) || !strings.HasSuffix(lines[2], " normal/3 -") {
		t.Errorf("%d\n%s", status, stdout)
	}
	for _, want := range []string{
		"bad.json: a worker would refuse this mail: sbuject: unknown field", "x.eml: is a message and not an envelope in JSON: publish eml publishes it", "missing.json: open",
	} {
		if !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 3 {
			t.Errorf("%q is missing:\n%s", want, stderr)
		}
	}
	status, _, stderr = d.run(nil, "--id", "p", "--in", "2h", "--expires", "3h", "--max-attempts", "3", "--tag", "x", "--meta", "k=v", "--lane", "normal", plain)
	if status != 0 {
		t.Fatal(stderr)
	}
	all := d.stored()
	m := all[3]
	e, err := schema.Decode(m.Header, m.Data)
	if err != nil || e.ID != "p" || e.SendAt.IsZero() || e.ExpiresAt.IsZero() || e.MaxAttempts != 3 || e.Tags[0] != "x" || e.Metadata["k"] != "v" || *e.Text != "plain" || m.Header.Get(schema.HeaderMsgID) != "p" {
		t.Errorf("%+v, %v", e, err)
	}
	if e, err = schema.Decode(all[1].Header, all[1].Data); err != nil || e.Subject != "S" || e.Recipients()[0].Address != "c@d" || !strings.Contains(string(e.Raw), "\r\n\r\nhi") {
		t.Errorf("the raw one: %+v, %v", e, err)
	}
	if n := len(d.stored()); n != 4 {
		t.Errorf("%d are stored, want 4", n)
	}
}

// TestFilesWithAByteOrderMark, as editors of Windows and PowerShell write them.
func TestFilesWithAByteOrderMark(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const envelope = `{"from":"a@b","to":["c@d"],"text":"hi"}`
	message := "From: a@b\r\nTo: c@d\r\n\r\nhi\r\n"
	if status, _, stderr := d.run(strings.NewReader("\ufeff"+envelope), d.file("bom.json", "\ufeff"+envelope), "-"); status != 0 {
		t.Error(status, stderr)
	}
	if status, _, stderr := d.run(nil, "eml", d.file("bom.eml", "\ufeff"+message)); status != 0 {
		t.Error(status, stderr)
	}
	const wide = "\xff\xfe{\x00}\x00"
	for _, args := range [][]string{{d.file("wide.json", wide)}, {"eml", d.file("wide.eml", wide)}} {
		if status, _, stderr := d.run(nil, args...); status != cli.Data || !strings.Contains(stderr, "UTF-16, must be UTF-8") {
			t.Errorf("%d %s", status, stderr)
		}
	}
	if n := len(d.stored()); n != 3 {
		t.Errorf("%d are stored, want 3", n)
	}
}

// TestForbidden: a credential that may not publish ends publish as a refused one does, and
// the error names the subject, the user and the settings.
func TestForbidden(t *testing.T) {
	t.Parallel()
	url := natstest.StartServer(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "worker", Password: "x", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"mail.record.>"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX_publish.>"}},
		}}}
	})
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const mail = "publish to mail.send.normal: use the credential of a producer; this is that of "
	for settings, credential := range map[string]string{
		"NATS_USER=worker NATS_PASSWORD=x":                "NATS_USER, NATS_PASSWORD",
		"NATS_USER=worker NATS_PASSWORD_FILE=" + password: "NATS_USER, NATS_PASSWORD_FILE",
	} {
		var stdout, stderr bytes.Buffer
		lookup := env.Of(append(strings.Fields(settings), "NATS_URL="+url))
		status := run(t.Context(), []string{"--from", "a@b", "--to", "c@d", "--text", "x"}, lookup, nil, &stdout, &stderr)
		if status != cli.NoPerm || !strings.Contains(stderr.String(), `do not allow it: user "worker" may not `+mail+credential+"\n") {
			t.Errorf("%s: %d %s", settings, status, stderr.String())
		}
	}
}

// TestFlagsAgainstAFile: neither wins, because one of them is a mistake.
func TestFlagsAgainstAFile(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good := d.file("good.json", `{"id":"g","from":"a@b","to":["c@d"],"text":"hi","tags":["t"],"send_at":"2100-01-01T00:00:00Z"}`)
	plain := d.file("plain.json", `{"from":"a@b","to":["c@d"],"text":"plain"}`)
	for args, want := range map[string]string{
		"--id x " + good: "--id: the file has its own id; omit one of them", "--in 1h " + good: "--in: the file has its own send_at",
		"--at 2100-01-01T00:00:00Z " + good: "--at: the file has its own send_at", "--tag x " + good: "--tag: the file has its own tags",
		"--id x " + plain + " " + good: "--id: is for one mail, and there are 2 files", "--to a@b " + good: `--to: is for a mail that is made of flags, and "` + good,
		"--subject x -": `--subject: is for a mail that is made of flags, and "-" is a file`,
		"nowhere":       "nowhere: open nowhere:",
	} {
		status, stdout, stderr := d.run(nil, strings.Split(args, " ")...)
		if status != cli.Usage && args != "nowhere" || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s%s", args, status, stdout, stderr)
		}
	}
	if status, _, stderr := d.run(nil, "--expires", "1h", good); status != cli.Data || !strings.Contains(stderr, "--expires: a worker would refuse it: expires_at") {
		t.Errorf("%d %s", status, stderr)
	}
	if n := len(d.stored()); n != 0 {
		t.Errorf("%d are stored", n)
	}
}

// TestNoSuchLane is said while it waits, and soon.
func TestNoSuchLane(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	began := time.Now()
	status, stdout, stderr := d.run(nil, "--from", "a@b", "--to", "c@d", "--text", "x", "--lane", "nowhere")
	lines := strings.Split(stderr, "\n")
	if status != cli.Usage || stdout != "" || len(lines) != 3 || !strings.HasPrefix(lines[0], "publish: no stream takes mail.send.nowhere; waiting up to 2s") ||
		!strings.HasPrefix(lines[1], "publish: --lane: publish to lane nowhere: no such lane: ") || time.Since(began) > 5*time.Second {
		t.Errorf("after %s: %d %s%s", time.Since(began), status, stdout, stderr)
	}
}

// TestDuplicate: a text that was changed under the same id is not taken for sent.
func TestDuplicate(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	args := []string{"--from", "a@b", "--to", "c@d", "--id", "x", "--text"}
	if status, _, stderr := d.run(nil, append(args, "first")...); status != 0 || stderr != "" {
		t.Fatal(stderr)
	}
	status, stdout, stderr := d.run(nil, append(args, "changed")...)
	const want = "publish: not stored: normal/1, published in the last ten minutes, has the id x and is kept as it is; a mail that is to be sent besides needs another id\n"
	if status != 0 || stdout != "duplicate x normal/1\n" || stderr != want {
		t.Errorf("%d %s%s", status, stdout, stderr)
	}
}

func TestTextFromStandardInput(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for i, c := range []struct {
		args       []string
		text, html string
	}{
		{nil, "piped\n", ""},
		{[]string{"--text", "-"}, "piped\n", ""},
		{[]string{"--html", "-"}, "", "piped\n"},
		{[]string{"--text", "given", "--html", "-"}, "given", "piped\n"},
		{[]string{"--text", "given"}, "given", ""},
	} {
		status, _, stderr := d.run(strings.NewReader("piped\n"), append([]string{"--from", "a@b", "--to", "c@d"}, c.args...)...)
		if status != 0 {
			t.Fatal(c.args, stderr)
		}
		e, err := schema.Decode(nil, d.stored()[i].Data)
		if err != nil {
			t.Fatal(err)
		}
		for what, pair := range map[string]struct {
			got  *string
			want string
		}{"text": {e.Text, c.text}, "html": {e.HTML, c.html}} {
			if (pair.got != nil) != (pair.want != "") || pair.got != nil && *pair.got != pair.want {
				t.Errorf("%v: %s is %v, want %q", c.args, what, pair.got, pair.want)
			}
		}
	}
	for _, c := range []struct {
		stdin  io.Reader
		args   []string
		status int
		word   string
	}{
		{nil, nil, cli.Usage, "--text or --html"},
		{strings.NewReader("x"), []string{"--text", "-", "--html", "-"}, cli.Usage, "only one"},
		{strings.NewReader("\xff"), nil, cli.Data, "UTF-8"},
		{strings.NewReader("a\x00b"), nil, cli.Data, "--text: a worker would refuse it: text: contains a NUL"},
	} {
		if status, _, stderr := d.run(c.stdin, append([]string{"--from", "a@b", "--to", "c@d"}, c.args...)...); status != c.status || !strings.Contains(stderr, c.word) {
			t.Errorf("%v: %d %s", c.args, status, stderr)
		}
	}
}

// TestRefusesBeforeItPublishes what a worker would bury.
func TestRefusesBeforeItPublishes(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, c := range []struct {
		args   string
		status int
		word   string
	}{
		{"--from x", cli.Data, "--from: a worker would refuse it: from: address"},
		{"--to x", cli.Data, "--to: a worker would refuse it: to[0]: address"},
		{"--to c@d --to x", cli.Data, "--to: a worker would refuse it: to[1]: address"},
		{"--to >", cli.Data, `--to: address ">" has a`},
		{"--cc x", cli.Data, "--cc: "}, {"--bcc x", cli.Data, "--bcc: "}, {"--reply-to x", cli.Data, "--reply-to: "},
		{"--subject a\nb", cli.Data, "--subject: "}, {"--text a\x00b", cli.Data, "--text: "}, {"--html a\x00b", cli.Data, "--html: "},
		{"--subject a\xff", cli.Data, "UTF-8"},
		{"--header X", cli.Usage, "--header: "}, {"--header To:_x", cli.Data, "--header: a worker would refuse it: headers.To: "}, {"--header X:a --header X:b", cli.Usage, "--header: X is given twice"},
		{"--lane UP", cli.Usage, "--lane: "}, {"--at tomorrow", cli.Usage, "--at: "}, {"--at 2001-01-01T00:00:00Z", cli.Usage, "--at: 2001-01-01T00:00:00Z has passed"},
		{"--at 2263-01-01T00:00:00Z", cli.Data, "--at: a worker would refuse it: send_at"}, {"--in -1s", cli.Usage, "--in: "}, {"--in 2", cli.Usage, `--in: "2" is not a duration like 2h or 3d`},
		{"--to Doe,_J_<a@x>", cli.Data, "; a name with a comma must be in quotes"}, {"--to ,", cli.Data, `--to: "," has no address`},
		{"--in 1h --at 2100-01-01T00:00:00Z", cli.Usage, "at"}, {"--in 2h --expires 1h", cli.Data, "--expires: a worker would refuse it: expires_at"},
		{"--expires -1h", cli.Usage, "--expires: "}, {"--expires never", cli.Usage, "--expires: "}, {"--expires 2001-01-01T00:00:00Z", cli.Usage, "--expires: "},
		{"--max-attempts 0", cli.Usage, "--max-attempts: "}, {"--max-attempts 101", cli.Data, "--max-attempts: "}, {"--max-attempts x", cli.Usage, "max-attempts"},
		{"--id " + strings.Repeat("i", 257), cli.Data, "--id: "}, {"--id=_", cli.Data, "--id: "}, {"--tag a\nb", cli.Data, "--tag: "}, {"--meta k", cli.Usage, "--meta: "}, {"--meta =v", cli.Data, "--meta: "}, {"--meta k=1 --meta k=2", cli.Usage, "--meta: "},
		{"--attach nowhere", cli.NoInput, "--attach: open nowhere"}, {"--attach .", cli.NoInput, "--attach: "}, {"--inline nowhere", cli.Usage, "--html"},
		{"--html x --inline a_b=" + d.file("x.png", ""), cli.OK, ""},
		{"--html x --inline <a>=" + d.file("x.png", ""), cli.Data, "--inline " + filepath.Join(d.dir, "x.png") + ": a worker would refuse it: attachments[0].content_id"},
		{"--nonsense", cli.Usage, "--nonsense"}, {"stray", cli.Usage, `"stray"`},
	} {
		args := []string{"--from", "a@b", "--to", "c@d", "--text", "x"}
		for a := range strings.SplitSeq(c.args, " ") {
			args = append(args, strings.ReplaceAll(a, "_", " "))
		}
		if strings.Contains(c.args, "a_b=") {
			args[len(args)-1] = strings.ReplaceAll(args[len(args)-1], "a b=", "ab=")
		}
		if strings.HasPrefix(c.args, "--to ") {
			args = append(args[:2], args[4:]...)
		}
		status, stdout, stderr := d.run(nil, args...)
		called := strings.HasSuffix(stderr, "; usage: publish {--from ADDRESS --to ADDRESS | FILE...} [flags]\n") && strings.Count(stderr, "\n") == 1
		if status != c.status || !strings.Contains(stderr, c.word) || status != cli.OK && stdout != "" || called != (status == cli.Usage) {
			t.Errorf("%q: status %d, want %d; %s%s, want %q", c.args, status, c.status, stdout, stderr, c.word)
		}
	}
	for args, want := range map[string]string{
		"--from a@b --text x": "--to is missing (or --cc or --bcc); usage: publish {--from", "--to a@b": "--from is missing; usage: publish {--from",
		"eml": "FILE is missing; usage: publish eml FILE... [flags]",
	} {
		if status, _, stderr := d.run(nil, strings.Split(args, " ")...); status != cli.Usage || !strings.HasPrefix(stderr, "publish: "+want) {
			t.Errorf("%s: %d %s", args, status, stderr)
		}
	}
	if n := len(d.stored()); n != 1 {
		t.Errorf("%d messages were published, want the one good one", n)
	}
}

func TestTooLargeSaysBothNumbers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, size := range []int{6_300_000, 9_000_000} { // above the lane's limit in base64, and above the broker's
		status, _, stderr := d.run(nil, "--from", "a@b", "--to", "c@d", "--text", "x", "--attach", d.file("big", strings.Repeat("x", size)))
		if status != cli.Data || !strings.Contains(stderr, "8323072") || !strings.Contains(stderr, "bytes") {
			t.Errorf("%d: status %d, %s", size, status, stderr)
		}
	}
	if n := len(d.stored()); n != 0 {
		t.Errorf("%d messages were stored", n)
	}
}

func TestNoBroker(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { return "nats://127.0.0.1:9", name == "NATS_URL" }
	status := run(t.Context(), []string{"--from", "a@b", "--to", "c@d", "--text", "x"}, lookup, nil, &out, &errs)
	if status != cli.TempFail || !strings.Contains(errs.String(), "NATS_URL names it") || out.Len() > 0 {
		t.Error(status, errs.String())
	}
}

// TestNoWorker: publish says what postrider says.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	dir := t.TempDir()
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"NATS_LISTEN": "127.0.0.1:9", "POSTRIDER_DATA_DIR": dir}[name]
		return value, ok
	}
	status := run(t.Context(), []string{"--from", "a@b", "--to", "c@d", "--text", "x"}, lookup, nil, &out, &errs)
	if said := errs.String(); status != cli.TempFail || !strings.Contains(said, "start a worker") || !strings.Contains(said, dir) || strings.Count(said, "\n") != 1 {
		t.Error(status, said)
	}
}

// TestInterrupted: a signal ends a publish that waits for standard input.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	for _, args := range [][]string{{"--from", "a@b", "--to", "c@d", "--text", "-"}, {"eml", "-", "missing.eml"}} {
		ctx, interrupt := context.WithCancel(t.Context())
		stdin, writer := io.Pipe()
		go func() {
			_, _ = io.WriteString(writer, "read, and more is to come")
			interrupt()
		}()
		var out, errs bytes.Buffer
		lookup := func(name string) (string, bool) { return d.broker.Config.URL, name == "NATS_URL" }
		status := run(ctx, args, lookup, stdin, &out, &errs)
		if said := errs.String(); status != cli.TempFail || out.Len() > 0 || !strings.HasSuffix(said, "interrupted; nothing was published\n") || strings.Count(said, "\n") != 1 {
			t.Errorf("%v: status %d: %s%s", args, status, out.String(), said)
		}
		_ = writer.Close()
	}
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	var errs bytes.Buffer
	lookup := func(name string) (string, bool) { return "nats://127.0.0.1:9", name == "NATS_URL" }
	status := run(ctx, []string{"--from", "a@b", "--to", "c@d", "--text", "x"}, lookup, nil, io.Discard, &errs)
	if status != cli.TempFail || errs.String() != "publish: interrupted; nothing was published\n" {
		t.Errorf("while it connects: status %d: %s", status, errs.String())
	}
}

func TestEml(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const mail = "From: a@example.com\nTo: b@example.net\nBcc: c@example.net\n\nhi\n"
	good, bad := d.file("good.eml", mail), d.file("bad.eml", "From: a@example.com\n\nhi\n")
	status, stdout, stderr := d.run(strings.NewReader(mail), "eml", bad, good, filepath.Join(d.dir, "missing.eml"), "-")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if status != cli.NoInput || len(lines) != 2 || !strings.HasSuffix(lines[0], " normal/1 "+good) || !strings.HasSuffix(lines[1], " normal/2 -") ||
		!strings.Contains(stderr, "bad.eml: a worker would refuse this mail: message: no recipient") || !strings.Contains(stderr, "missing.eml: open") {
		t.Errorf("%d\n%s\n%s", status, stdout, stderr)
	}
	status, stdout, stderr = d.run(nil, "eml", "--from", "", "--to", "X <x@example.net>", "--to", "y@example.net", "--id", "e", "--tag", "t", "--meta", "K=v", "--in", "1h",
		"--expires", "2h", "--max-attempts", "2", "--json", good)
	if status != 0 || stdout != `{"id":"e","lane":"normal","sequence":3,"duplicate":false,"file":"`+good+`"}`+"\n" {
		t.Fatal(status, stdout, stderr)
	}
	all := d.stored()
	if string(all[0].Data) != mail {
		t.Errorf("the mail was changed: %q", all[0].Data)
	}
	e, err := schema.Decode(all[2].Header, all[2].Data)
	if err != nil {
		t.Fatal(err)
	}
	if e.ID != "e" || e.ReversePath() != "" || len(e.Recipients()) != 2 || e.Recipients()[0].Address != "x@example.net" || e.SendAt.IsZero() ||
		e.ExpiresAt.Sub(e.SendAt) != time.Hour || e.MaxAttempts != 2 || e.Tags[0] != "t" || e.Metadata["K"] != "v" {
		t.Errorf("%+v", e)
	}
	for args, want := range map[string]string{
		"eml --to x " + good: "--to: a worker would refuse it: header Mail-To: address", "eml --from x " + good: "--from: a worker",
		"eml --id x " + good + " " + good: "--id: is for one message", "eml --tag \x01 " + good: "--tag: a worker",
		"eml --at 2263-01-01T00:00:00Z " + good: "--at: a worker", "eml --tag \t " + good: "--tag: ",
	} {
		if status, _, stderr := d.run(nil, strings.Split(args, " ")...); status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%q: %d %s", args, status, stderr)
		}
	}
	if n := len(d.stored()); n != 3 {
		t.Errorf("%d messages were published, want 3", n)
	}
}

// TestManyFiles: each has a line, in the order of the files, whatever became of it.
func TestManyFiles(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	files, out, errs := []string{}, []string{}, []string{}
	for i := range 500 {
		name := fmt.Sprintf("%d.eml", i)
		switch i {
		case 0, 100, 101, 499:
			files = append(files, filepath.Join(d.dir, name))
			errs = append(errs, name+": open ")
		case 1, 200:
			files = append(files, d.file(name, "From: a@example.com\n\nhi\n"))
			errs = append(errs, name+": a worker would refuse this mail: ")
		default:
			files = append(files, d.file(name, "From: a@example.com\nTo: b@example.net\n\nhi\n"))
			out = append(out, "/"+name)
		}
	}
	status, stdout, stderr := d.run(nil, append([]string{"eml"}, files...)...)
	said, complaints := strings.Split(strings.TrimSpace(stdout), "\n"), strings.Split(strings.TrimSpace(stderr), "\n")
	if status != cli.NoInput || len(said) != len(out) || len(complaints) != len(errs) || len(d.stored()) != len(out) {
		t.Fatalf("%d: %d lines, %d errors, %d stored\n%s", status, len(said), len(complaints), len(d.stored()), stderr)
	}
	for i, line := range said {
		if !strings.HasPrefix(line, "queued ") || !strings.HasSuffix(line, out[i]) {
			t.Errorf("line %d is %q, want it to end in %q", i, line, out[i])
		}
	}
	for i, line := range complaints {
		if !strings.Contains(line, errs[i]) {
			t.Errorf("error %d is %q, want %q", i, line, errs[i])
		}
	}
}

// TestManyFilesInterrupted: each file that was read has its line, and one that was
// not stored says so.
func TestManyFilesInterrupted(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	files := []string{"eml"}
	for range 2000 {
		files = append(files, d.file("x.eml", "From: a@example.com\nTo: b@example.net\n\nhi\n"))
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	out := &interrupter{after: 300, interrupt: interrupt}
	var errs bytes.Buffer
	lookup := func(name string) (string, bool) { return d.broker.Config.URL, name == "NATS_URL" }
	status := run(ctx, files, lookup, nil, out, &errs)
	unsent, unknown := strings.Count(errs.String(), "interrupted; nothing was published\n"), strings.Count(errs.String(), "interrupted; the broker may have stored the mail\n")
	stored := len(d.stored())
	// A file without a line was not read, and not published.
	if status != cli.TempFail || out.lines+unsent+unknown >= 2000 || unsent+unknown != strings.Count(errs.String(), "\n") || out.lines < 300 || stored < out.lines || stored > out.lines+unknown || stored == 2000 {
		t.Errorf("status %d: %d lines, %d not published, %d perhaps; %d are stored", status, out.lines, unsent, unknown, stored)
	}
}

// interrupter interrupts after so many lines.
type interrupter struct {
	lines, after int
	interrupt    func()
}

func (i *interrupter) Write(b []byte) (int, error) {
	if i.lines += bytes.Count(b, []byte("\n")); i.lines == i.after {
		i.interrupt()
	}
	return len(b), nil
}

// TestEmlBesideWhatNoHeaderHolds: it is JSON on the wire, and nothing is lost.
func TestEmlBesideWhatNoHeaderHolds(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good := d.file("good.eml", "From: a@example.com\nTo: b@example.net\n\nhi\n")
	for i, meta := range []string{"k:x=v", "k=a\nb", "k=v\t", "=\xff"} {
		status, stdout, stderr := d.run(nil, "eml", "--meta", meta, good)
		if meta[0] == '=' {
			if status != cli.Data || !strings.Contains(stderr, "--meta: ") {
				t.Errorf("%q: %d %s%s", meta, status, stdout, stderr)
			}
			continue
		}
		m := d.stored()[i]
		e, err := schema.Decode(m.Header, m.Data)
		if err != nil {
			t.Fatal(err)
		}
		if k, v, _ := strings.Cut(meta, "="); e.Metadata[k] != v || !strings.Contains(string(e.Raw), "\n\nhi\n") {
			t.Errorf("%q: %+v", meta, e)
		}
	}
}

func TestTenant(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	good := d.file("good.eml", "From: a@example.com\nTo: b@example.net\n\nhi\n")
	lookup := func(name string) (string, bool) {
		value, ok := map[string]string{"NATS_URL": d.broker.Config.URL, "NATS_NKEY": filepath.Join(d.broker.Config.DataDir, "operator.nk")}[name]
		return value, ok
	}
	for _, args := range [][]string{{"--from", "a@b", "--to", "c@d", "--text", "x"}, {"eml", good}} {
		var out, errs bytes.Buffer
		if status := run(t.Context(), append(args, "--tenant", "acme", "--id", "1"), lookup, nil, &out, &errs); status != 0 {
			t.Error(args, status, errs.String())
		}
	}
	all := d.stored()
	m := all[0]
	if e, err := schema.Decode(m.Header, m.Data); err != nil || e.Tenant != "acme" || m.Subject != "mail.send.normal.acme" || m.Header.Get(schema.HeaderMsgID) != "acme:1" || len(all) != 1 {
		t.Errorf("%d stored, first on %s with %v: %+v, %v", len(all), m.Subject, m.Header, e, err)
	}
	for args, want := range map[string]string{"--tenant A": "--tenant: a worker would refuse it", "--tenant=": "--tenant: must not be empty"} {
		status, _, stderr := d.run(nil, append([]string{"--from", "a@b", "--to", "c@d", "--text", "x"}, strings.Split(args, " ")...)...)
		if status == 0 || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", args, status, stderr)
		}
	}
}

func TestDays(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	if status, _, stderr := d.run(nil, "--from", "a@b", "--to", "c@d", "--text", "x", "--in", "3d", "--expires", "1d96h"); status != 0 {
		t.Fatal(stderr)
	}
	e, err := schema.Decode(nil, d.stored()[0].Data)
	if err != nil || e.ExpiresAt.Sub(e.SendAt) != 48*time.Hour || time.Until(e.SendAt).Round(time.Hour) != 72*time.Hour {
		t.Errorf("%v to %v, %v", e.SendAt, e.ExpiresAt, err)
	}
}

// TestHelpNamesTheProgram: examples are what people can type.
func TestHelpNamesTheProgram(t *testing.T) {
	t.Parallel()
	root := &cobra.Command{Use: "postrider"}
	root.AddCommand(Command("postrider publish", os.LookupEnv))
	for _, args := range [][]string{{"publish", "--help"}, {"publish", "eml", "--help"}} {
		var out bytes.Buffer
		if status := cli.Run(t.Context(), root, args, nil, &out, &out); status != 0 || !strings.Contains(out.String(), "| postrider publish ") {
			t.Error(status, out.String())
		}
		if strings.Contains(out.String(), "PUBLISH") || strings.Contains(out.String(), "  publish --") {
			t.Error(out.String())
		}
	}
	for path, schema := range map[string]string{"postrider publish": "(postrider schema describes it)", "publish": "(publish schema describes it)"} {
		if long := Command(path, os.LookupEnv).Long; !strings.Contains(long, schema) {
			t.Errorf("%s: %s\nwant %q", path, long, schema)
		}
	}
}

func TestEmlWithoutBroker(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, dir: t.TempDir()}
	good := d.file("good.eml", "From: a@example.com\nTo: b@example.net\n\nhi\n")
	var out, errs bytes.Buffer
	lookup := func(name string) (string, bool) { return "nats://127.0.0.1:9", name == "NATS_URL" }
	status := run(context.Background(), []string{"eml", good, good}, lookup, nil, &out, &errs)
	if status != cli.TempFail || strings.Count(errs.String(), "NATS_URL names it") != 1 || strings.Count(errs.String(), "good.eml: ") != 2 {
		t.Error(status, errs.String())
	}
}

func TestSchema(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	status := run(t.Context(), []string{"schema"}, os.LookupEnv, nil, &out, io.Discard)
	if !json.Valid(out.Bytes()) || status != 0 || out.String() != schema.JSONSchema() {
		t.Error(status, out.String())
	}
	for _, args := range [][]string{{"schema", "x"}, {"help", "x"}} {
		var errs bytes.Buffer
		if status := run(t.Context(), args, os.LookupEnv, nil, io.Discard, &errs); status != cli.Usage || !strings.HasPrefix(errs.String(), "publish: ") || !strings.Contains(errs.String(), `"x"`) {
			t.Error(args, status, errs.String())
		}
	}
}
