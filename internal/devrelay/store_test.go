package devrelay

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestSafeToken(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"<one@example.com>":               "one",
		"<17-3.order_9@example.com>":      "17-3-order_9",
		" <../../etc/passwd@x> ":          "etc-passwd",
		"a/b\\c\x00d\re\nf@x":             "a-b-c-d-e-f",
		"<" + strings.Repeat("x", 500):    strings.Repeat("x", 64),
		"ä.eml":                           "eml",
		"<C:\\CON.eml@x>":                 "C-CON-eml",
		"no brackets":                     "no-brackets",
		"<\u202egnp.exe\u2028next@x.com>": "gnp-exe-next",
	} {
		if got := safeToken(in); got != want {
			t.Errorf("safeToken(%q) = %q, want %q", in, got, want)
		}
	}
	for _, in := range []string{"", "<@x>", "<..@x>", "@", "ä"} {
		if a, b := safeToken(in), safeToken(in); a == b || !regexp.MustCompile(`^[A-Z2-7]{26}$`).MatchString(a) {
			t.Errorf("safeToken(%q) = %q and %q, want something random", in, a, b)
		}
	}
}

func TestMessageIDOfAnyHead(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"message-id: <a@b>\r\n\r\nMessage-ID: <c@d>": "<a@b>",
		"Message-ID:\r\n <a@b>\r\nSubject: cut":      "<a@b>",
		"Message-ID: <a@b>\nSubject: x\n\n":          "<a@b>",
		"Subject: x\r\n\r\nMessage-ID: <c@d>\r\n":    "",
		"no header at all":                           "",
		"":                                           "",
	} {
		if got := messageID([]byte(in)); got != want {
			t.Errorf("messageID(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestNamesAreGivenOnce(t *testing.T) {
	t.Parallel()
	s, err := openStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for range 2000 {
		id := s.name("x")
		if seen[id] || !queueID.MatchString(id) {
			t.Fatalf("name %q is given twice, or is none", id)
		}
		seen[id] = true
	}
	// The clock is set back to where an earlier run has named a mail.
	next := s.last.AddDate(1, 0, 0)
	s.last = next.Add(-1)
	if err := os.WriteFile(s.file(queueIDOf(next, "x")), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := s.name("x"), queueIDOf(next.Add(1), "x"); got != want {
		t.Errorf("name %q, want %q behind the one that is taken", got, want)
	}
}

func TestPathStaysInTheDirectory(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	s, err := openStore(filepath.Join(root, "sent"))
	if err != nil {
		t.Fatal(err)
	}
	id := s.name("x")
	for _, p := range []string{filepath.Join(root, "secret.eml"), filepath.Join(root, "sent", "other.eml")} {
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, in := range []string{"../secret", "other", "", id, id + "/../other", "../sent/" + id, id + "\n", strings.Repeat("x", 1<<16)} {
		if p, ok := s.path(in); ok {
			t.Errorf("path(%q) = %q, want none", in, p)
		}
	}
}

// FuzzKeep: whatever comes, the file holds it and lies in the directory under
// a name that the store finds again.
func FuzzKeep(f *testing.F) {
	f.Add("Message-ID: <../../x@y>\r\n\r\nz")
	f.Add("Message-ID: <\x00\xff/\\@y>\n\n")
	f.Add(strings.Repeat("\r", 70<<10))
	f.Fuzz(func(t *testing.T, m string) {
		s, err := openStore(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		id, err := s.keep(strings.NewReader(m))
		if err != nil {
			t.Fatal(err)
		}
		p, ok := s.path(id)
		if got, err := os.ReadFile(p); !ok || err != nil || string(got) != m || filepath.Dir(p) != s.dir {
			t.Fatalf("kept %q as %q (%v), %v: it holds %q", m, p, ok, err, got)
		}
		wantNames(t, s.dir, 1)
	})
}
