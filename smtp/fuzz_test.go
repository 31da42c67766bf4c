package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/postrider/postrider/mail"
)

func FuzzReply(f *testing.F) {
	for _, s := range []string{
		"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "250\n", "000 x\r\n", "999 x\r\n", "25", "250_x\r\n", "250-a\r\n",
		"451 4.7.1 \xff\x00\u2028\r\n", "220 5.x.1 a\r\n", "\r\n", strings.Repeat("250-x\r\n", 300), "250 " + strings.Repeat("x", 3000) + "\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(in), 2*maxReplyLine)
		r, err := readReply(br, nil)
		if err != nil {
			if !errors.Is(err, errOutOfStep) && err != io.EOF {
				t.Errorf("error %v", err)
			}
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > maxReplyLines {
			t.Errorf("%+v", r)
		}
		if a := r.agreed(); a != "" && (a[0] != byte('0'+r.code/100) || strings.Count(a, ".") != 2) {
			t.Errorf("enhanced code %q of %d", a, r.code)
		}
		if text := r.text(); len(text) > mail.MaxReply || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("text %q", text)
		}
		// Nothing after the reply's last line was consumed: it answers the next command.
		if used := len(in) - br.Buffered(); len(in) <= br.Size() && in[used-1] != '\n' {
			t.Errorf("read %d of %q", used, in)
		}
		parseExtensions(r, nil)
		queueID(r.text())
	})
}

// FuzzDot sends a message through the dot writer, in writes of any size, and reads
// it as a relay does: there is one end, and the lines are those that were written.
func FuzzDot(f *testing.F) {
	for _, s := range []string{
		"", ".", "..", "a", "a\r\n", ".\r\n", "\r\n.\r\n", "\n.\n", "\r.\r", "\r\n.\r", "\n.\r\n", "a\r\n.\nb", "a\r.\r\nb", "\x00.\r\n\x00", "\r\r\n.\r\r\n", "a\n\r.\n",
	} {
		f.Add([]byte(s), byte(1))
		f.Add([]byte(s), byte(200))
	}
	f.Fuzz(func(t *testing.T, in []byte, step byte) {
		var wire bytes.Buffer
		w := dotWriter{flush: func(b []byte) error { wire.Write(b); return nil }}
		for rest := in; len(rest) > 0; {
			n := min(int(step)+1, len(rest))
			if m, err := w.Write(rest[:n]); m != n || err != nil {
				t.Fatal(m, err)
			}
			rest = rest[n:]
		}
		wire.Write(w.end())
		if w.n != int64(len(in)) {
			t.Errorf("counted %d of %d", w.n, len(in))
		}
		if got, want := undot(t, wire.String()), canonical(in); got != want {
			t.Errorf("%q was sent as %q, want %q", in, got, want)
		}
	})
}

// undot reads strictly: only CRLF ends a line, and the first line of a single dot
// must be the last line.
func undot(t *testing.T, wire string) string {
	t.Helper()
	var b strings.Builder
	for {
		line, rest, ok := strings.Cut(wire, "\r\n")
		if !ok || strings.ContainsAny(line, "\r\n") {
			t.Fatalf("%q on the wire ends in no CRLF, or has a bare CR or LF", wire)
		}
		if line == "." {
			if rest != "" {
				t.Fatalf("%q follows the end", rest)
			}
			return b.String()
		}
		b.WriteString(strings.TrimPrefix(line, ".") + "\r\n")
		wire = rest
	}
}

// canonical is in with every line end made CRLF, and one at the end.
func canonical(in []byte) string {
	s := strings.ReplaceAll(string(in), "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return s
}

// TestDotBlocks: bodies larger than a block, and bodies without line ends.
func TestDotBlocks(t *testing.T) {
	t.Parallel()
	for _, in := range []string{
		strings.Repeat("x", 3*blockSize+5), strings.Repeat(".", blockSize+1), strings.Repeat("\r", blockSize), strings.Repeat("\n", 2*blockSize),
		strings.Repeat(".\r\n", blockSize), strings.Repeat("a\r\n", blockSize/3) + ".", strings.Repeat("x", blockSize) + "\r\n.\r\n", strings.Repeat("x", blockSize-1) + "\r\n.\r\n",
	} {
		var wire bytes.Buffer
		w := dotWriter{flush: func(b []byte) error {
			if len(b) > 3*blockSize {
				t.Errorf("a block of %d bytes", len(b))
			}
			wire.Write(b)
			return nil
		}}
		if _, err := io.WriteString(&w, in); err != nil {
			t.Fatal(err)
		}
		wire.Write(w.end())
		if undot(t, wire.String()) != canonical([]byte(in)) {
			t.Errorf("%d bytes of %q… came out different", len(in), in[:3])
		}
	}
}

// FuzzAddress: whatever passes is one argument of MAIL or RCPT.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{"a@x.test", `"a b"@x.test`, `"a\">b"@x.test`, "a@b> SIZE=1 <c", "a@[IPv6:::1]", "ä@x.test", "a@x\r\n", "@", `"`, `"\`} {
		f.Add(s, true)
		f.Add(s, false)
	}
	f.Fuzz(func(t *testing.T, addr string, utf8Too bool) {
		if checkPath(addr, utf8Too) != nil {
			return
		}
		line := string(appendPath([]byte("RCPT TO:"), addr))
		if strings.ContainsAny(line, "\r\n\x00\u0085\u2028\u2029") || len(addr) > 254 {
			t.Fatalf("%q passed", addr)
		}
		quoted := false
		for i := 0; i < len(addr); i++ {
			switch c := addr[i]; {
			case c >= 0x80 && !utf8Too:
				t.Fatalf("%q passed without SMTPUTF8", addr)
			case quoted && c == '\\':
				i++
			case c == '"':
				quoted = !quoted
			case !quoted && strings.IndexByte(" <>", c) >= 0:
				t.Fatalf("%q passed", addr)
			}
		}
		if quoted {
			t.Fatalf("%q passed with an open quote", addr)
		}
	})
}
