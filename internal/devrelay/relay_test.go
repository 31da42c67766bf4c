package devrelay

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mail = "Message-ID: <one@example.com>\r\nSubject: hello\r\n\r\n.dot\r\nb\xc3\xa4r\r\n"

// start runs a relay in dir until the test ends.
func start(t *testing.T, dir string, stall time.Duration) *Relay {
	t.Helper()
	return startLogging(t, dir, stall, slog.DiscardHandler)
}

func startLogging(t *testing.T, dir string, stall time.Duration, log slog.Handler) *Relay {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Dir, cfg.Stall = dir, stall
	r, err := Start(t.Context(), cfg, slog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(context.Background()) }) // closed already in some tests
	return r
}

// client is one connection, spoken to line by line.
type client struct {
	t testing.TB
	c *textproto.Conn
}

// dial returns a connection that has said EHLO, and the reply to it.
func dial(t testing.TB, r *Relay) (*client, string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t, textproto.NewConn(conn)}
	t.Cleanup(func() { conn.Close() })
	c.reply("220 ")
	return c, c.say("250 ", "EHLO client.example")
}

// say sends a line and returns the reply, which has to begin with want.
func (c *client) say(want, line string) string {
	c.t.Helper()
	if err := c.c.PrintfLine("%s", line); err != nil {
		c.t.Error(err)
	}
	return c.reply(want)
}

func (c *client) reply(want string) string {
	c.t.Helper()
	code, text, err := c.c.ReadResponse(0)
	if err != nil && code == 0 {
		c.t.Error(err)
	}
	got := fmt.Sprintf("%d %s", code, text)
	if !strings.HasPrefix(got, want) {
		c.t.Errorf("reply %q, want %q", got, want)
	}
	return got
}

// body sends a message behind the 354 and returns the reply.
func (c *client) body(want, m string) string {
	c.t.Helper()
	c.say("354 ", "DATA")
	w := c.c.DotWriter()
	if _, err := io.WriteString(w, m); err != nil {
		c.t.Error(err)
	}
	if err := w.Close(); err != nil {
		c.t.Error(err)
	}
	return c.reply(want)
}

// send sends m and returns its queue id.
func (c *client) send(to, m string) string {
	c.t.Helper()
	c.say("250 ", "MAIL FROM:<a@example.com> BODY=8BITMIME")
	c.say("250 ", "RCPT TO:<"+to+">")
	return strings.TrimPrefix(c.body("250 2.0.0 queued as ", m), "250 2.0.0 queued as ")
}

func wantFile(t testing.TB, r *Relay, id, want string) {
	t.Helper()
	p, ok := r.Path(id)
	if !ok {
		t.Errorf("no file for queue id %q", id)
		return
	}
	got, err := os.ReadFile(p)
	if err != nil || string(got) != want {
		t.Errorf("file %s holds %q, %v; want %q", p, got, err, want)
	}
}

func TestKeepsMailAndSaysItsID(t *testing.T) {
	t.Parallel()
	r := start(t, filepath.Join(t.TempDir(), "sent"), time.Hour)
	c, ehlo := dial(t, r)
	for _, word := range []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 33554432", "ENHANCEDSTATUSCODES"} {
		if !strings.Contains(ehlo, "\n"+word) {
			t.Errorf("EHLO does not offer %s: %q", word, ehlo)
		}
	}
	id := c.send("b@example.com", mail)
	wantFile(t, r, id, mail)
	if !strings.HasSuffix(id, "Z-one") {
		t.Errorf("queue id %q does not name the message", id)
	}
	if want := "smtp://" + r.Addr() + "?tls=none"; r.URL() != want {
		t.Errorf("URL %q, want %q", r.URL(), want)
	}
	c.say("250 ", "MAIL FROM:<ä@example.com> SMTPUTF8")
	c.say("250 ", "RCPT TO:<ö@example.com>")
	wantFile(t, r, strings.Fields(c.body("250 ", mail))[4], mail)
}

func TestKeepsWhatComesInChunks(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	c.say("250 ", "MAIL FROM:<>")
	c.say("250 ", "RCPT TO:<b@example.com>")
	c.say("250 ", "BDAT 12\r\nSubject: a")
	wantFile(t, r, strings.Fields(c.say("250 2.0.0 queued as ", "BDAT 5 LAST\r\n\r\nb"))[4], "Subject: a\r\n\r\nb\r\n")
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	c.say("250 ", "MAIL FROM:<a@example.com>\r\nRCPT TO:<550@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"+mail[:len(mail)-2]+"\r\n.")
	c.reply("550 5.1.1 ")
	c.reply("250 ")
	c.reply("354 ")
	c.reply("250 2.0.0 queued as ")
}

// TestDefersEachMessageTwice: each recipient of each message, also if messages of one
// sender and one text come side by side.
func TestDefersEachMessageTwice(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	try := func(want, id, to string) {
		t.Helper()
		c.say("250 ", "MAIL FROM:<a@example.com>")
		c.say("250 ", "RCPT TO:<"+to+">")
		c.body(want, "Message-ID: <"+id+">\r\n\r\nhi\r\n")
	}
	for range 2 {
		try("451 4.3.0 ", "one@x", "451@example.com")
		try("451 4.3.0 ", "two@x", "451@example.com")
		try("450 4.2.1 ", "one@x", "450@example.com")
	}
	wantNames(t, r.store.dir, 0)
	try("250 ", "one@x", "451@example.com")
	try("250 ", "two@x", "451@example.com")
	try("250 ", "one@x", "450@example.com")
	wantNames(t, r.store.dir, 3)
	try("451 4.3.0 ", "one@x", "451@example.com") // a replay is deferred as the first was
}

// TestDeferredAlone: the one reply to a message is for all recipients, so a recipient who
// is to be deferred has a transaction alone, and the others are to come in another one.
func TestDeferredAlone(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	const alone = "452 4.5.3 "
	for _, rcpt := range [][]string{
		{"250 451", alone + "ann", alone + "450", alone + "slow", "550 550"},
		{"250 ann", alone + "451", "250 bob"},
		{"550 550", "250 451", alone + "451"},
	} {
		c.say("250 ", "MAIL FROM:<a@example.com>")
		for _, line := range rcpt {
			i := strings.LastIndexByte(line, ' ')
			c.say(line[:i], "RCPT TO:<"+line[i+1:]+"@example.com>")
		}
		c.say("250 ", "RSET")
	}
}

func TestSlowRecipientGetsALateReply(t *testing.T) {
	t.Parallel()
	const stall = 300 * time.Millisecond
	r := start(t, t.TempDir(), stall)
	c, _ := dial(t, r)
	begin := time.Now()
	wantFile(t, r, c.send("slow@example.com", mail), mail)
	if took := time.Since(begin); took < stall {
		t.Errorf("the reply took %v, want %v at least", took, stall)
	}
}

func TestCloseEndsAStallAndLetsTheReplyOut(t *testing.T) {
	t.Parallel()
	log := make(lines, 1)
	r := startLogging(t, t.TempDir(), time.Hour, slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c, _ := dial(t, r)
	got := make(chan string, 1)
	go func() { got <- c.send("slow@example.com", mail) }()
	if line := <-log; !strings.Contains(line, "keeps a mail") {
		t.Errorf("log says %q", line)
	}
	if err := r.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantFile(t, r, <-got, mail)
	if _, err := c.c.ReadLine(); err == nil {
		t.Error("the connection outlived Close")
	}
	if err := r.Close(t.Context()); err == nil {
		t.Error("a second Close did not say so")
	}
}

// lines gets what is logged, a line a write.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestCloseCutsOffWhoDoesNotFinish(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	c.say("250 ", "MAIL FROM:<a@example.com>")
	c.say("250 ", "RCPT TO:<b@example.com>")
	c.say("250 ", "BDAT 3\r\na") // answered when Data has begun, and never ended
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Close(ctx); err == nil || !strings.Contains(err.Error(), "mail in flight") {
		t.Errorf("Close: %v, want what it was waiting for", err)
	}
	if _, err := c.c.ReadLine(); err == nil {
		t.Error("the connection outlived Close")
	}
}

func TestRefusesTooMuch(t *testing.T) {
	t.Parallel()
	r := start(t, t.TempDir(), time.Hour)
	c, _ := dial(t, r)
	c.say("552 5.3.4 ", "MAIL FROM:<a@example.com> SIZE=33554433")
	c.say("250 ", "MAIL FROM:<a@example.com>")
	for i := range maxRecipients {
		c.say("250 ", fmt.Sprintf("RCPT TO:<b%d@example.com>", i))
	}
	c.say("452 4.5.3 ", "RCPT TO:<b@example.com>")
	line := strings.Repeat(strings.Repeat("x", 998)+"\r\n", 1024)
	c.body("552 5.3.4 ", strings.Repeat(line, 34))
	c.say("500 ", "NOOP "+strings.Repeat("x", 2*maxLine))
	wantNames(t, r.store.dir, 0)
}

func TestDiskErrorIsTemporary(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "sent")
	r := start(t, dir, time.Hour)
	c, _ := dial(t, r)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	c.say("250 ", "MAIL FROM:<a@example.com>")
	c.say("250 ", "RCPT TO:<b@example.com>")
	c.body("452 4.3.1 ", mail)
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	wantFile(t, r, c.send("b@example.com", mail), mail)
}

func TestFiftyConnections(t *testing.T) {
	t.Parallel()
	const conns, each = 50, 4
	dir := t.TempDir()
	r := start(t, dir, time.Hour)
	var wg sync.WaitGroup
	for i := range conns {
		c, _ := dial(t, r)
		wg.Go(func() {
			for j := range each {
				m := fmt.Sprintf("Message-ID: <same@example.com>\r\n\r\n%d %d %s\r\n", i, j, strings.Repeat("x", 900))
				wantFile(t, r, c.send("b@example.com", m), m)
			}
		})
	}
	wg.Wait()
	wantNames(t, dir, conns*each)
}

// wantNames counts the mails in dir. Nothing else may be there.
func wantNames(t *testing.T, dir string, want int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !queueID.MatchString(strings.TrimSuffix(e.Name(), suffix)) {
			t.Errorf("stray file %s", e.Name())
		}
	}
	if len(entries) != want {
		t.Errorf("%d files, want %d", len(entries), want)
	}
}

func TestRestartKeepsMail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := start(t, dir, time.Hour)
	c, _ := dial(t, first)
	id := c.send("b@example.com", mail)
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, incoming+"half"), []byte("Subj"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, start(t, dir, time.Hour), id, mail)
	wantNames(t, dir, 1)
}

func TestLostConnectionKeepsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	r := start(t, dir, time.Hour)
	c, _ := dial(t, r)
	c.say("250 ", "MAIL FROM:<a@example.com>")
	c.say("250 ", "RCPT TO:<b@example.com>")
	c.say("354 ", "DATA")
	if err := c.c.PrintfLine("Subject: half"); err != nil {
		t.Fatal(err)
	}
	c.c.Close()
	if err := r.Close(t.Context()); err != nil { // waits for the message in flight
		t.Fatal(err)
	}
	wantNames(t, dir, 0)
}

// TestProbeIsNoTrouble: whoever cuts the connection, as a probe does that looks
// whether somebody listens, leaves no warning.
func TestProbeIsNoTrouble(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	r := startLogging(t, t.TempDir(), time.Hour, slog.NewTextHandler(&log, nil))
	conn, err := net.Dial("tcp", r.Addr())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil { // it is served
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := r.server.Shutdown(t.Context()); err != nil { // waits until it is dealt with
		t.Fatal(err)
	}
	if log.Len() > 0 {
		t.Errorf("it logs %s", log.String())
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	taken := start(t, t.TempDir(), time.Hour)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Listen: "127.0.0.1:0"}, "no name"},
		{Config{Listen: "127.0.0.1:0", Dir: file}, "make the development relay's directory"},
		{Config{Listen: taken.Addr(), Dir: t.TempDir()}, "listen for the development relay on " + taken.Addr()},
	} {
		if _, err := Start(t.Context(), c.cfg, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Start(%+v): %v, want %q", c.cfg, err, c.want)
		}
	}
}

// The server may not have begun to serve yet, and then leaves the listener open.
func TestCloseRightAfterStart(t *testing.T) {
	t.Parallel()
	for range 100 {
		if err := start(t, t.TempDir(), time.Hour).Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
