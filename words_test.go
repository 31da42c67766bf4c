package postrider_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// formerly has the words of identifiers that were used before the field's own words,
// and what is used now.
var formerly = []struct {
	pattern *regexp.Regexp
	now     string
}{
	{regexp.MustCompile(`^hops?$|[hH]opOf|Hops?([A-Z]|$)`), "generation"},
	{regexp.MustCompile(`^Lines?$|^[lL]ine(Of|Tails?)$|^([kK]ey|[mM]ail|[mM]essage|[dD]elivery)Lines?([A-Z]|$)`), "key"},
	{regexp.MustCompile(`^[lL]etters?$|(^|[^d])Letters?([A-Z]|$)`), "message or dead letter"},
	{regexp.MustCompile(`^markers?$|Marker`), "tombstone"},
	{regexp.MustCompile(`^hands?$|[hH]and(ed)?(Back|Over|Out)|[iI]nHand`), "delivery, requeue, in flight"},
	{regexp.MustCompile(`^laps(e|ed|es)$|Laps(e|ed|es)`), "expire"},
	{regexp.MustCompile(`^glances?$|Glance`), "status"},
	{regexp.MustCompile(`^carr(y|ied)$|Carr(y|ied)|carry[A-Z]`), "forward"},
	{regexp.MustCompile(`^Whole$|^Single$|^[wW]holeOf$`), "together, split"},
	{regexp.MustCompile(`^places?([A-Z]|$)|Places?([A-Z]|$)`), "slot"},
}

// plain are the identifiers whose word is the English one, and the files or
// directories in which it is.
var plain = []struct{ name, in string }{
	{"Line", "internal/smtptest/"},          // of a dialogue
	{"Line", "smtp/transaction_test.go"},    // as above
	{"Line", "smtp/group_test.go"},          // as above
	{"Line", "smtp/auth_test.go"},           // as above
	{"Line", "relays/"},                     // of a file
	{"Line", "smtp/rule"},                   // as above
	{"Line", "cmd/postrider/relay.go"},      // as above
	{"place", "settle/injection_test.go"},   // the verb: to place a piece in a value
	{"places", "internal/e2e/hunt_test.go"}, // where a secret may be found
	{"SubjectDeleteMarkerTTL", "broker/"},   // a name of NATS
	{"LimitMarkerTTL", "broker/"},           // as above
}

// former is the word to use instead of an identifier's; empty if it is right.
func former(name string) string {
	for _, w := range formerly {
		if w.pattern.MatchString(name) {
			return w.now
		}
	}
	return ""
}

// TestWords keeps the former words out of the identifiers.
func TestWords(t *testing.T) {
	t.Parallel()
	used := make([]bool, len(plain))
	allowed := func(file, name string) bool {
		i := slices.IndexFunc(plain, func(p struct{ name, in string }) bool {
			return p.name == name && strings.HasPrefix(filepath.ToSlash(file), p.in)
		})
		if i >= 0 {
			used[i] = true
		}
		return i >= 0
	}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") {
			return err
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				// Go's own, as strings.Lines and unicode.IsLetter.
				p, ok := n.X.(*ast.Ident)
				return !ok || p.Name != "strings" && p.Name != "unicode"
			case *ast.TypeSpec:
				// A variable may be a line of text.
				if n.Name.Name == "line" {
					t.Errorf("%s: type line: the word is key", set.Position(n.Pos()))
				}
			case *ast.Ident:
				if now := former(n.Name); now != "" && !allowed(file, n.Name) {
					t.Errorf("%s: %s: the word is %s", set.Position(n.Pos()), n.Name, now)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range plain {
		if !used[i] {
			t.Errorf("%s is not in %s any more: remove it from the list", p.name, p.in)
		}
	}
}

// TestFormerWords: the patterns find what they are for, and nothing else.
func TestFormerWords(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Hop", "hops", "maxHops", "Line", "lineOf", "LineTail", "keyLine", "mailLine", "Letter", "letters", "newLetter", "Marker", "markers", "hand", "handBack", "handedBack",
		"handOver", "HandedOut", "inHand", "lapse", "hasLapsed", "Glance", "glance", "carry", "carryOn", "Whole", "Single", "wholeOf", "Place", "place", "freePlaces", "placesLeft",
	} {
		if former(name) == "" {
			t.Errorf("%s is not found", name)
		}
	}
	for _, name := range []string{
		"DeadLetter", "deadLetterLine", "deadLetters", "maxReplyLine", "readLines", "line", "deadline", "inline", "Handle", "handshake", "handler",
		"elapsed", "Replace", "ReplaceAll", "Placement", "single", "shop", "generation",
	} {
		if now := former(name); now != "" {
			t.Errorf("%s is found: the word is %s", name, now)
		}
	}
}
