package relays

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	yaml "github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
)

// maxFile and maxLine are in bytes. No file reaches them that people write, and the library
// takes a time that grows with the square of how deep lists are nested in a line.
const (
	maxFile = 64 << 10
	maxLine = 4 << 10
)

// File is what the file says.
type File struct {
	// Rules are in their order: the first that is for a reply counts.
	Rules []smtp.Rule
}

// PositionError is what is wrong at one position of the file.
type PositionError struct {
	// Line and Column begin at 1.
	Line, Column int
	What         string
}

// Error is LINE:COLUMN: and what is wrong.
func (p PositionError) Error() string { return fmt.Sprintf("%d:%d: %s", p.Line, p.Column, p.What) }

// Parse reads the content of a file. The errors are all that is wrong, each a [PositionError], in
// the order of the file; of a file that is no YAML, the first.
func Parse(content []byte) (*File, []error) {
	body, err := document(content)
	if err != nil {
		return nil, []error{err}
	}
	d := &decoder{}
	f := &File{}
	d.fields(body, map[string]func(ast.Node){"rules": func(n ast.Node) {
		list, ok := n.(*ast.SequenceNode)
		if !ok {
			d.wrong(n, "rules: %s, must be a list; write [] for none", kind(n))
			return
		}
		f.Rules = d.rules(list)
	}}, "the file", "rules")
	if len(d.found) > 0 {
		return nil, d.sorted()
	}
	return f, nil
}

// document is the one YAML document of the content.
func document(content []byte) (body ast.Node, err error) {
	if len(content) > maxFile {
		return nil, PositionError{1, 1, fmt.Sprintf("the file has %d bytes, may have at most %d", len(content), maxFile)}
	}
	n := 0
	for line := range bytes.SplitSeq(content, []byte("\n")) {
		if n++; len(line) > maxLine {
			return nil, PositionError{n, 1, fmt.Sprintf("the line has %d bytes, may have at most %d", len(line), maxLine)}
		}
	}
	if at := invalid(content); at >= 0 {
		line := 1 + bytes.Count(content[:at], []byte("\n"))
		return nil, PositionError{line, at - bytes.LastIndexByte(content[:at], '\n'), "the file is not UTF-8 text"}
	}
	// It is read while mail is sent: a defect of the library must not end the worker.
	defer func() {
		if r := recover(); r != nil {
			body, err = nil, PositionError{1, 1, fmt.Sprintf("the file cannot be read as YAML: %v", r)}
		}
	}()
	parsed, err := parser.ParseBytes(content, 0)
	if err != nil {
		return nil, syntaxError(content, err)
	}
	switch docs := parsed.Docs; {
	// A file that is being written is empty for a moment, and must not end all rules.
	case len(docs) == 0, docs[0].Body == nil, len(docs) == 1 && docs[0].Body.Type() == ast.NullType:
		return nil, PositionError{1, 1, "the file is empty; write rules: [] for no rules"}
	case len(docs) > 1:
		at := position(docs[1].Body)
		return nil, PositionError{at.Line, at.Column, "the file has several documents, must have one"}
	}
	return parsed.Docs[0].Body, nil
}

// invalid is the index of the first byte that is not UTF-8, or -1.
func invalid(content []byte) int {
	for i := 0; i < len(content); {
		r, n := utf8.DecodeRune(content[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// syntaxError is what the library says of a text that is no YAML, or what it means.
func syntaxError(content []byte, err error) PositionError {
	p := PositionError{1, 1, "the file is no YAML"}
	e, ok := errors.AsType[yaml.Error](err)
	if !ok {
		return p
	}
	said := e.GetMessage()
	if t := e.GetToken(); t != nil && t.Position != nil {
		p.Line, p.Column = t.Position.Line, t.Position.Column
	}
	if at := tabIn(content, p.Line); at > 0 && (strings.Contains(said, "\t") || strings.Contains(said, "tab ")) {
		return PositionError{p.Line, at, "a tab; YAML indents with spaces"}
	}
	p.What += ": " + mail.Sentence(strings.ReplaceAll(said, "character '\t'", "a tab"), mail.MaxReply)
	if strings.Contains(said, "unknown escape character") {
		p.What += `; write it in single quotes, in which YAML leaves \ as it is`
	}
	return p
}

// tabIn is the column of the first tab among the blanks with which the line begins; 0 if
// there is none.
func tabIn(content []byte, line int) int {
	for text := range bytes.SplitSeq(content, []byte("\n")) {
		if line--; line > 0 {
			continue
		}
		blanks := text[:len(text)-len(bytes.TrimLeft(text, " \t"))]
		return bytes.IndexByte(blanks, '\t') + 1
	}
	return 0
}

// decoder collects what is wrong.
type decoder struct {
	found []PositionError
	// unknown counts the fields that are unknown.
	unknown int
}

func (d *decoder) wrong(n ast.Node, format string, args ...any) {
	p := position(n)
	p.What = fmt.Sprintf(format, args...)
	d.found = append(d.found, p)
}

func (d *decoder) sorted() (all []error) {
	slices.SortStableFunc(d.found, func(a, b PositionError) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	for _, p := range d.found {
		all = append(all, p)
	}
	return all
}

// fields calls the function of each field that is there. The library refuses what is there
// twice. It reports false if n has no fields.
func (d *decoder) fields(n ast.Node, known map[string]func(ast.Node), what string, names ...string) bool {
	m, ok := n.(ast.MapNode)
	if !ok {
		d.wrong(n, "%s is %s, must have the fields: %s", what, kind(n), strings.Join(names, ", "))
		return false
	}
	for it := m.MapRange(); it.Next(); {
		name := it.Key().GetToken().Value
		if read := known[name]; read != nil {
			read(it.Value())
			continue
		}
		d.unknown++
		d.wrong(it.Key(), "unknown field %q; %s may have: %s", mail.Sentence(name, 60), what, strings.Join(names, ", "))
	}
	return true
}

// position is where a value begins.
func position(n ast.Node) PositionError {
	if n == nil {
		return PositionError{Line: 1, Column: 1}
	}
	t := n.GetToken()
	if m, ok := n.(ast.MapNode); ok && t != nil && t.Value == ":" {
		// Of a block the library has the first colon.
		if it := m.MapRange(); it.Next() {
			t = it.Key().GetToken()
		}
	}
	if t == nil || t.Position == nil {
		return PositionError{Line: 1, Column: 1}
	}
	return PositionError{Line: t.Position.Line, Column: t.Position.Column}
}

// kind is what a value is, for people.
func kind(n ast.Node) string {
	switch x := n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case ast.MapNode:
		return "a set of fields"
	case *ast.SequenceNode:
		return "a list"
	case *ast.IntegerNode, *ast.FloatNode:
		return mail.Sentence(x.GetToken().Value, 60)
	case *ast.StringNode, *ast.BoolNode:
		return fmt.Sprintf("%q", mail.Sentence(x.GetToken().Value, 60))
	}
	return "a form of YAML that is not used here"
}
