package postrider_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// phrases are the former words as they may come back in pages, manifests, graphs,
// alarms and stories, and what is used now.
var phrases = []struct {
	pattern *regexp.Regexp
	now     string
}{
	{regexp.MustCompile(`(?i)\bin[\s#]+hand\b`), "in flight"},
	{regexp.MustCompile(`(?i)\bhand(s|ed|ing)?[\s#]+((it|them|mail|messages)[\s#]+)?back\b|\bhandback\b`), "requeue"},
	{regexp.MustCompile(`(?i)(\bdead[-\s#]+)?\bletters?\b`), "message, or dead letter"},
	{regexp.MustCompile(`(?i)\bhops?\b`), "generation"},
	{regexp.MustCompile(`(?i)\bmarkers?\b`), "tombstone"},
	{regexp.MustCompile(`(?i)\blaps(e|ed|es|ing)\b`), "expire"},
	{regexp.MustCompile(`(?i)\bcarr(y|ies|ied|ying)\b`), "forward, or have"},
	{regexp.MustCompile(`(?i)\bglances?\b`), "status"},
	{regexp.MustCompile(`(?i)\blies?[\s#]+dead\b`), "dead-lettered"},
	{regexp.MustCompile(`\bconn_use\b`), "use"},
}

// alphabet is where letters are those of the alphabet: beside digits, or at the
// beginning of a password.
var alphabet = regexp.MustCompile(`(?i)letters(,| and) digits|with a letter`)

// formerPhrase is a former word in a text: where, which, and what is used now.
type formerPhrase struct {
	line       int
	words, now string
}

// formerPhrases finds them, also those that a line break divides.
func formerPhrases(text []byte) (found []formerPhrase) {
	for _, p := range phrases {
		for _, at := range p.pattern.FindAllSubmatchIndex(text, -1) {
			words := string(text[at[0]:at[1]])
			around := text[max(0, at[0]-len("with a ")):min(len(text), at[1]+len(" and digits"))]
			if dead := strings.HasPrefix(strings.ToLower(words), "dead"); dead || alphabet.Match(around) {
				continue
			}
			found = append(found, formerPhrase{1 + bytes.Count(text[:at[0]], []byte("\n")), words, p.now})
		}
	}
	return found
}

// TestPhrases keeps the former words out of everything that people read and that
// is not Go.
func TestPhrases(t *testing.T) {
	t.Parallel()
	files := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && file != "." && (d.Name()[0] == '.' || slices.Contains([]string{"bin", "data", "node_modules"}, d.Name())):
			return filepath.SkipDir
		case !slices.Contains([]string{".json", ".yaml", ".yml", ".md", ".txtar"}, filepath.Ext(file)):
			return nil
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		files++
		for _, p := range formerPhrases(b) {
			t.Errorf("%s:%d: %q: the word is %s", file, p.line, p.words, p.now)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 30 {
		t.Errorf("found %d files: the test does not read the tree", files)
	}
}

// TestFormerPhrases: the patterns find what they are for, and nothing else.
func TestFormerPhrases(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"In hand, by worker", "what is in\n# hand", "Handed back, left", "hands it back", "a letter of Ann's", "letters and tombstones", "Hops a second", "a marker", "the lease lapses",
		"it carries the key", "carried", "at a glance", "who lies dead", "conn_use",
	} {
		if found := formerPhrases([]byte(text)); len(found) != 1 {
			t.Errorf("%q: found %v, want one", text, found)
		}
	}
	for _, text := range []string{
		"a dead letter", "dead\n  letters", "dead-letter", "of letters and digits", "letters, digits and !", "begin with a letter", "elapsed", "shop", "by hand", "in flight", "handed to a worker",
	} {
		if found := formerPhrases([]byte(text)); len(found) != 0 {
			t.Errorf("%q: found %v, want none", text, found)
		}
	}
}
