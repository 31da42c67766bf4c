package postrider_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// formerly has the words of identifiers that were used before the field's own words,
// and what is used now.
var formerly = []struct {
	pattern *regexp.Regexp
	now     string
}{
	{regexp.MustCompile(`^hops?$|[hH]opOf|Hop([A-Z]|$)`), "generation"},
	{regexp.MustCompile(`^Line(Of|Tails?)?$|^lineOf$`), "key"},
	{regexp.MustCompile(`^[lL]etters?$|(^|[^d])Letters?([A-Z]|$)`), "message or dead letter"},
	{regexp.MustCompile(`^marker$|Marker`), "tombstone"},
	{regexp.MustCompile(`^hands?$|[hH]andBack|[hH]andedBack|[iI]nHand`), "delivery, requeue, in flight"},
	{regexp.MustCompile(`^laps(e|ed|es)$|Laps(e|ed|es)`), "expire"},
	{regexp.MustCompile(`^glance$|Glance`), "status"},
	{regexp.MustCompile(`^carr(y|ied)$|Carr(y|ied)|carry[A-Z]`), "forward"},
	{regexp.MustCompile(`^Whole$|^Single$|^[wW]holeOf$`), "together, split"},
	{regexp.MustCompile(`^Places?$`), "slot"},
}

// plain are identifiers whose word is the English one.
var plain = map[string]bool{
	"Line":     true, // of a dialogue, by package smtptest
	"IsLetter": true, // unicode's
}

// TestWords keeps the former words out of the identifiers.
func TestWords(t *testing.T) {
	t.Parallel()
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
			id, ok := n.(*ast.Ident)
			if !ok || plain[id.Name] {
				return true
			}
			for _, w := range formerly {
				if w.pattern.MatchString(id.Name) {
					t.Errorf("%s: %s: the word is %s", set.Position(id.Pos()), id.Name, w.now)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
