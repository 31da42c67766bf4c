package smtptest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// talk sends all of in at once and returns all replies until the relay hangs up.
func talk(t *testing.T, s *Server, in string) string {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, in); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(bufio.NewReader(conn))
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// codes are the first three bytes of each line.
func codes(replies string) string {
	var s []string
	for line := range strings.Lines(replies) {
		s = append(s, line[:3])
	}
	return strings.Join(s, " ")
}

func TestAccepts(t *testing.T) {
	t.Parallel()
	s := New(t)
	got := codes(talk(t, s, "HELO c\r\nMAIL FROM:<a@x> SIZE=5\r\nRCPT TO:<b@x>\r\nRCPT TO:<\"c>\"@x>\r\nDATA\r\n..x\r\ny\r\n.\r\nNOOP\r\nWHAT\r\nQUIT\r\n"))
	if got != "220 250 250 250 250 354 250 250 500 221" {
		t.Errorf("replies %s", got)
	}
	m := s.Messages()
	if len(m) != 1 || m[0].From != "a@x" || fmt.Sprint(m[0].Rcpts) != `[b@x "c>"@x]` || string(m[0].Data) != ".x\r\ny\r\n" || m[0].Session != 1 {
		t.Errorf("%+v", m)
	}
	if !strings.HasPrefix(s.Transcript(1), "S: 220 relay.test ESMTP\r\nC: HELO c\r\nS: 250") {
		t.Errorf("transcript:\n%s", s.Transcript(1))
	}
}

// TestOrder: commands out of order are refused.
func TestOrder(t *testing.T) {
	t.Parallel()
	got := codes(talk(t, New(t), "RCPT TO:<a@x>\r\nDATA\r\nMAIL FROM:<>\r\nMAIL FROM:<>\r\nDATA\r\nRSET\r\nDATA\r\nQUIT\r\n"))
	if got != "220 503 503 250 503 503 250 503 221" {
		t.Errorf("replies %s", got)
	}
}

// TestEndOfData: only CRLF, dot, CRLF ends a message.
func TestEndOfData(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"\n.\n", "\r\n.\n", "\n.\r\n", "\r.\r", "\r\n.\r", "x.\r\n", "\r\n..\r\n", strings.Repeat("y", 200<<10) + "\r\n.z"} {
		s := New(t)
		got := codes(talk(t, s, "MAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n"+body+"\r\n.\r\nQUIT\r\n"))
		if got != "220 250 250 354 250 221" || s.Accepted() != 1 {
			t.Errorf("%.20q: replies %s", body, got)
		}
		if want := strings.ReplaceAll(body, "\r\n.", "\r\n") + "\r\n"; string(s.Messages()[0].Data) != want {
			t.Errorf("%.20q came out different", body)
		}
	}
}

func TestScripts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		answer Answer
		want   string
	}{
		{Answer{Reply: "451 4.0.0 no"}, "220 ready\r\n451 4.0.0 no\r\n221 2.0.0 bye\r\n"},
		{Answer{Raw: "garbage"}, "220 ready\r\ngarbage221 2.0.0 bye\r\n"},
		{Answer{HangUp: true}, "220 ready\r\n"},
		{Answer{Reply: "421 bye", HangUp: true}, "220 ready\r\n421 bye\r\n"},
		{Answer{Reply: "250 slow", Drip: 1}, "220 ready\r\n250 slow\r\n221 2.0.0 bye\r\n"},
	} {
		s := New(t, On("CONNECT", Answer{Reply: "220 ready"}), On("MAIL", c.answer))
		if got := talk(t, s, "MAIL FROM:<a@x>\r\nQUIT\r\n"); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.answer, got, c.want)
		}
	}
}

// TestStall: there is no reply before the channel is closed; Close releases it.
func TestStall(t *testing.T) {
	t.Parallel()
	release, asked := make(chan struct{}), make(chan struct{})
	s := New(t, Scripted(func(st Step) *Answer {
		if st.Verb != "NOOP" {
			return nil
		}
		close(asked)
		return &Answer{Until: release, Reply: "250 at last"}
	}))
	done := make(chan string)
	go func() { done <- talk(t, s, "NOOP\r\nQUIT\r\n") }()
	<-asked
	select {
	case got := <-done:
		t.Fatalf("answered %q too early", got)
	default:
	}
	close(release)
	if got := <-done; !strings.Contains(got, "250 at last\r\n221") {
		t.Errorf("got %q", got)
	}
	if s.Peak() != 1 || s.Sessions() != 1 {
		t.Errorf("peak %d, sessions %d", s.Peak(), s.Sessions())
	}
}

func TestByAddress(t *testing.T) {
	t.Parallel()
	s := New(t, ByAddress())
	try := func(from string) string {
		return codes(talk(t, s, "MAIL FROM:<"+from+">\r\nRCPT TO:<550@x>\r\nRCPT TO:<451@x>\r\nRCPT TO:<451x2@x>\r\nRCPT TO:<250@x>\r\nRCPT TO:<4512@x>\r\nQUIT\r\n"))
	}
	for _, want := range []string{"451", "451", "250", "250"} {
		if got := try("a@x"); got != "220 250 550 451 "+want+" 250 250 221" {
			t.Errorf("replies %s, want %s for the third", got, want)
		}
	}
	if got := try("b@x"); got != "220 250 550 451 451 250 250 221" {
		t.Errorf("replies %s for another sender", got)
	}
}

func TestAuth(t *testing.T) {
	t.Parallel()
	s := New(t, Auth("u", "p"))
	const tail = "\r\nMAIL FROM:<a@x>\r\nQUIT\r\n"
	for in, want := range map[string]string{
		"NOOP": "220 250 530 221",
		// \0u\0p
		"AUTH PLAIN AHUAcA==":         "220 235 250 221",
		"AUTH PLAIN\r\nAHUAcA==":      "220 334 235 250 221",
		"AUTH PLAIN AHUAeA==":         "220 535 530 221",
		"AUTH LOGIN\r\ndQ==\r\ncA==":  "220 334 334 235 250 221",
		"AUTH LOGIN dQ==\r\ncA==":     "220 334 235 250 221",
		"AUTH LOGIN dQ==\r\nnonsense": "220 334 535 530 221",
		"AUTH CRAM-MD5":               "220 504 530 221",
	} {
		if got := codes(talk(t, s, in+tail)); got != want {
			t.Errorf("%q: replies %s, want %s", in, got, want)
		}
	}
}
