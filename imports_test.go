package postrider_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/postrider/postrider/"

// rooms says which of our packages each package imports, outside its tests.
var rooms = map[string][]string{
	"mail":                    {},
	"schema":                  {"mail"},
	"wire":                    {"schema", "mail"},
	"stream":                  {"wire"},
	"compose":                 {"schema", "mail"},
	"broker":                  {"stream", "wire", "mail", "internal/check", "internal/reread"},
	"broker/embedded":         {"broker", "stream", "wire"},
	"settle":                  {"compose", "stream", "wire", "schema", "mail", "internal/check"},
	"consumer":                {"settle", "stream", "wire", "schema", "internal/slots", "internal/check"},
	"submit":                  {"compose", "broker", "stream", "wire", "schema"},
	"smtp":                    {"mail", "internal/check", "internal/reread"},
	"relays":                  {"smtp", "mail", "internal/env", "internal/reread"},
	"journal":                 {"stream", "wire", "mail"},
	"deadletter":              {"stream", "wire", "schema", "mail"},
	"queue":                   {"broker", "journal", "deadletter", "stream", "wire", "schema", "mail"},
	"doctor":                  {"queue", "broker", "smtp", "stream", "wire"},
	"cmd/worker":              {"internal/cli", "internal/cli/worker", "internal/version"},
	"cmd/publish":             {"internal/cli", "internal/cli/publish", "internal/env", "internal/version"},
	"cmd/postrider":           {"broker", "smtp", "relays", "journal", "deadletter", "queue", "doctor", "stream", "wire", "mail", "internal/cli", "internal/cli/publish", "internal/cli/worker", "internal/env", "internal/version"},
	"examples":                {},
	"examples/submit":         {"submit", "schema", "mail"},
	"internal/app":            {"settle", "broker", "broker/embedded", "consumer", "smtp", "relays", "journal", "deadletter", "queue", "stream", "wire", "mail", "internal/devrelay", "internal/check", "internal/cli", "internal/env", "internal/reread", "internal/version"},
	"internal/cli/worker":     {"broker", "stream", "internal/app", "internal/check", "internal/devrelay", "internal/cli", "internal/env"},
	"internal/e2e":            {},
	"internal/check":          {},
	"internal/reread":         {},
	"internal/env":            {"mail", "internal/check", "internal/reread"},
	"internal/bench":          {"broker", "consumer", "deadletter", "journal", "settle", "stream", "wire", "mail", "internal/natstest", "internal/testrun"},
	"internal/freeport":       {},
	"internal/natstest":       {"broker", "broker/embedded", "wire", "internal/freeport", "internal/testrun"},
	"internal/smtptest":       {},
	"internal/storm":          {"broker", "journal", "deadletter", "stream", "wire", "internal/freeport", "internal/testrun"},
	"internal/storm/mutant":   {"broker", "settle", "journal", "stream", "wire", "internal/app", "internal/cli/worker"},
	"internal/fleet":          {},
	"internal/slots":          {"wire"},
	"internal/testrun":        {},
	"internal/smtptest/relay": {"internal/smtptest"},
	"internal/devrelay":       {},
	"internal/version":        {"internal/cli"},
	"internal/cli":            {"broker", "stream", "internal/env"},
	"internal/cli/publish":    {"submit", "broker", "stream", "wire", "schema", "mail", "internal/cli", "internal/env"},
}

// guests says which packages may import what is not ours, by its prefix.
var guests = []struct {
	prefix string
	only   []string
}{
	{"github.com/nats-io/nats-server/", []string{"broker/embedded", "internal/natstest", "internal/storm/mutant"}},
	{"github.com/nats-io/", []string{"stream", "broker", "broker/embedded", "consumer", "settle", "submit", "journal", "deadletter", "queue", "doctor", "internal/bench", "internal/natstest", "internal/storm", "internal/storm/mutant", "examples", "examples/submit"}},
	{"github.com/emersion/go-smtp", []string{"internal/devrelay"}},
	{"github.com/goccy/go-yaml", []string{"relays"}},
	{"net/smtp", nil},
	{"github.com/testcontainers/", nil},
	{"github.com/moby/", nil},
}

// TestImports holds the arrows between the rooms.
func TestImports(t *testing.T) {
	t.Parallel()
	seen := map[string]map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		room := path.Dir(filepath.ToSlash(file))
		allowed, known := rooms[room]
		if !known {
			t.Errorf("%s: package %s is not in the table of rooms", file, room)
		}
		if seen[room] == nil {
			seen[room] = map[string]bool{}
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, i := range f.Imports {
			name, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			if own, ok := strings.CutPrefix(name, module); ok {
				seen[room][own] = true
				if !slices.Contains(allowed, own) {
					t.Errorf("%s: %s may not import %s", file, room, own)
				}
			}
			for _, g := range guests {
				if strings.HasPrefix(name, g.prefix) && !slices.Contains(g.only, room) {
					t.Errorf("%s: %s may not import %s", file, room, name)
				}
				if strings.HasPrefix(name, g.prefix) {
					break
				}
			}
			if name == "github.com/emersion/go-smtp" && (i.Name == nil || i.Name.Name != "gosmtp") {
				t.Errorf("%s: import go-smtp as gosmtp", file)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for room, allowed := range rooms {
		if seen[room] == nil {
			t.Errorf("the table has room %s, which is not there", room)
		}
		for _, own := range allowed {
			if !seen[room][own] {
				t.Errorf("the table has it that %s imports %s, which it does not", room, own)
			}
		}
	}
}

var (
	row    = regexp.MustCompile("^\\| (\\[`[^|]+) \\| [^|]+ \\|(?: ([^|]*) \\|)?$")
	quoted = regexp.MustCompile("`([^`]+)`")
)

// TestRooms: ARCHITECTURE.md names every package, and says of those that are in its
// first table what they import.
func TestRooms(t *testing.T) {
	t.Parallel()
	named := map[string]bool{}
	for _, line := range prose(t, "ARCHITECTURE.md") {
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		var imports []string
		for _, q := range quoted.FindAllStringSubmatch(m[1], -1) {
			room := strings.TrimSuffix(q[1], "/")
			named[room] = true
			imports = append(imports, rooms[room]...)
		}
		if m[2] == "" {
			continue // of the table of what is beside the programs
		}
		said := strings.Split(m[2], ", ")
		if m[2] == "–" {
			said = nil
		}
		slices.Sort(said)
		slices.Sort(imports)
		if imports = slices.Compact(imports); !slices.Equal(said, imports) {
			t.Errorf("ARCHITECTURE.md says that %s imports %v, must be %v", m[1], said, imports)
		}
	}
	for room := range rooms {
		if !named[room] && !named[path.Dir(room)] {
			t.Errorf("ARCHITECTURE.md does not name package %s", room)
		}
	}
}
