package schema

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// reader reads an envelope token by token. Unmarshalling into a struct would build
// a million entries before they could be counted, would accept null for every
// type, and could not name the field as well in errors.
type reader struct {
	dec *jsontext.Decoder
	// content is the first field that goes into the message; empty for none.
	content string
}

// fail is an error of the field that was read last.
func (r *reader) fail(format string, args ...any) error {
	return badField(fieldPath(r.dec.StackPointer()), format, args...)
}

// syntax is the error of invalid JSON.
func (r *reader) syntax(err error) error {
	if s, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return badField(fieldPath(s.JSONPointer), "invalid JSON at byte %d: %v", s.ByteOffset, s.Err)
	}
	return badField(fieldPath(r.dec.StackPointer()), "invalid JSON: %v", err)
}

// token reads one token of that kind. Of an array or an object that is not wanted
// it reads only the first bracket, however deep the nesting.
func (r *reader) token(want jsontext.Kind) (jsontext.Token, error) {
	t, err := r.dec.ReadToken()
	if err != nil {
		return t, r.syntax(err)
	}
	if t.Kind() == 'n' {
		return t, r.fail("must not be null; omit the field")
	}
	if t.Kind() != want {
		return t, r.fail("must be %s, not %s", kindName(want), kindName(t.Kind()))
	}
	return t, nil
}

// end checks that nothing follows the envelope.
func (r *reader) end() error {
	at := r.dec.InputOffset()
	if _, err := r.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return badField("", "invalid JSON at byte %d: something follows the end of the envelope", at)
	}
	return nil
}

func (r *reader) text() (string, error) {
	b, err := r.unquoted()
	return string(b), err
}

// unquoted is a string without its quotes, valid until the next read. It is copied
// only if it has escapes, which most have not.
func (r *reader) unquoted() ([]byte, error) {
	if r.dec.PeekKind() != '"' {
		_, err := r.token('"')
		return nil, err
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		return nil, r.syntax(err)
	}
	if bytes.IndexByte(v, '\\') < 0 {
		return v[1 : len(v)-1], nil
	}
	return jsontext.AppendUnquote(make([]byte, 0, len(v)), v)
}

// checked reads a string that must pass check.
func (r *reader) checked(check func(string) error) func() (string, error) {
	return func() (string, error) {
		s, err := r.text()
		if err == nil {
			if err = check(s); err != nil {
				err = r.fail("%v", err)
			}
		}
		return s, err
	}
}

// optional reads a string that may be empty; nil is a missing one.
func (r *reader) optional() (*string, error) {
	s, err := r.text()
	return &s, err
}

// integer also accepts 7.0, as JSON Schema does: some languages write that.
func (r *reader) integer() (int, error) {
	t, err := r.token('0')
	if err != nil {
		return 0, err
	}
	f, err := strconv.ParseFloat(t.String(), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<31 {
		return 0, r.fail("%s is not an integer", mail.Cut(t.String(), 40))
	}
	return int(f), nil
}

// bytes reads base64 (RFC 4648 section 4).
func (r *reader) bytes() ([]byte, error) {
	in, err := r.unquoted()
	if err != nil {
		return nil, err
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(in)))
	n, err := base64.StdEncoding.Decode(out, in)
	if err != nil || bytes.IndexByte(in, '\r') >= 0 || bytes.IndexByte(in, '\n') >= 0 {
		return nil, r.fail("is not base64 (RFC 4648 section 4: A-Z a-z 0-9 + /, padded with =, no line breaks)")
	}
	return out[:n], nil
}

// object reads the members of an object. member must read the value.
func (r *reader) object(member func(name string) error) error {
	if _, err := r.token('{'); err != nil {
		return err
	}
	for {
		t, err := r.dec.ReadToken()
		switch {
		case err != nil:
			return r.syntax(err)
		case t.Kind() == '}':
			return nil
		}
		if err := member(t.String()); err != nil {
			return err
		}
	}
}

// unknown is the error of a field that is not one of known.
func (r *reader) unknown(name string, known ...string) error {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return r.fail("unknown field; it is spelled %s", k)
		}
	}
	return r.fail("unknown field")
}

// entries reads an object of at most most values.
func entries[T any](r *reader, most int, value func() (T, error)) (map[string]T, error) {
	m := make(map[string]T)
	err := r.object(func(name string) error {
		if len(m) == most {
			return r.fail("entry %d: at most %d are allowed", most+1, most)
		}
		v, err := value()
		m[name] = v
		return err
	})
	return m, err
}

// list reads an array of at most most elements.
func list[T any](r *reader, most int, element func() (T, error)) ([]T, error) {
	if _, err := r.token('['); err != nil {
		return nil, err
	}
	var l []T
	for {
		switch r.dec.PeekKind() {
		case ']':
			_, err := r.token(']')
			return l, err
		case jsontext.KindInvalid:
			_, err := r.dec.ReadToken()
			return nil, r.syntax(err)
		}
		if len(l) == most {
			_, _ = r.dec.ReadToken() // so that the error names this element
			return nil, r.fail("entry %d: at most %d are allowed", most+1, most)
		}
		x, err := element()
		if err != nil {
			return nil, err
		}
		l = append(l, x)
	}
}

func kindName(k jsontext.Kind) string {
	switch k {
	case '[':
		return "an array"
	case '{':
		return "an object"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case 'n':
		return "null"
	}
	return "a boolean"
}

// fieldPath writes /to/0/email as to[0].email.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for t := range p.Tokens() {
		switch {
		case t != "" && strings.Trim(t, "0123456789") == "":
			b.WriteString("[" + t + "]")
		case b.Len() > 0:
			b.WriteString("." + t)
		default:
			b.WriteString(t)
		}
	}
	return mail.Sentence(b.String(), 200)
}
