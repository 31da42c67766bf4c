package smtp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode"
)

// echoes are the forms in which a relay could repeat our password, squeezed: as
// it is, escaped, in hexadecimal, and in base64 behind anything else. Some relays
// quote the command in their replies, and replies are logged and recorded.
type echoes []string

const (
	// echoPart is how much of a form must be repeated, since a line may be cut
	// off. In base64 it is six bytes of the password.
	echoPart = 8
	// echoLeast is the shortest form that is searched for: what is shorter occurs
	// in replies that repeat nothing.
	echoLeast = 4
)

const withheld = "(its words are withheld: they repeat the password)"

func newEchoes(password string) echoes {
	var e echoes
	add := func(s string) {
		if s = squeeze(s); len(s) >= echoLeast {
			e = append(e, s[:min(len(s), echoPart)])
		}
	}
	add(password)
	add(url.QueryEscape(password))
	add(hex.EncodeToString([]byte(password)))
	for before := range 3 {
		s := within(password, before)
		for i := range max(1, len(s)-echoPart+1) {
			add(s[i:min(len(s), i+echoPart)])
		}
	}
	return e
}

// within is the part of a base64 text that depends on the password alone, if
// before bytes (modulo three) precede the password and anything follows it.
func within(password string, before int) string {
	s := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + password))
	end := (before + len(password)) * 8 / 6
	begin := (before*8 + 5) / 6
	return s[min(begin, end):end]
}

// squeeze removes what may be between the characters of a form, and the
// differences between upper and lower case and between base64's alphabets.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r), unicode.IsControl(r), strings.ContainsRune(`"'\%:=`, r):
			return -1
		case r == '-':
			return '+'
		case r == '_':
			return '/'
		}
		return unicode.ToLower(r)
	}, s)
}

// in reports whether a relay's words repeat the password.
func (e echoes) in(words string) bool {
	if len(e) == 0 {
		return false
	}
	for _, words := range []string{words, html.UnescapeString(words), unescapeURL(words)} {
		words = squeeze(words)
		for _, form := range e {
			if strings.Contains(words, form) {
				return true
			}
		}
	}
	return false
}

var escaped = regexp.MustCompile("%[0-9A-Fa-f]{2}")

// unescapeURL is url.PathUnescape for a text in which not every % is an escape.
func unescapeURL(words string) string {
	return escaped.ReplaceAllStringFunc(words, func(s string) string {
		b, _ := hex.DecodeString(s[1:])
		return string(b)
	})
}

// tooShort reports a password that cannot be told from what replies say anyway.
func tooShort(password string) bool { return password != "" && len(squeeze(password)) < echoLeast }

// hide withholds the words of a reply that repeats the password.
func (e echoes) hide(r reply) reply {
	if e.in(strings.Join(r.lines, "")) {
		r.lines = []string{withheld}
	}
	return r
}

// hideErr does the same with an error that quotes the relay.
func (e echoes) hideErr(err error) error {
	if err != nil && e.in(err.Error()) {
		return &hiddenError{cause: err, echoes: e}
	}
	return err
}

// hiddenError is an error whose words are withheld. errors.Is and errors.As still
// work.
type hiddenError struct {
	cause  error
	echoes echoes
}

func (*hiddenError) Error() string { return withheld }

// GoString is what %#v prints.
func (*hiddenError) GoString() string { return withheld }

// Is compares the cause, and shows nothing of it.
func (h *hiddenError) Is(target error) bool { return errors.Is(h.cause, target) }

// Unwrap is the outermost cause whose words may be shown; nil if there is none.
func (h *hiddenError) Unwrap() error {
	for err := h.cause; err != nil; err = errors.Unwrap(err) {
		if !h.echoes.in(err.Error()) {
			return err
		}
	}
	return nil
}
