package smtp

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/url"
	"strings"
	"unicode"
)

// echoes are the forms in which a relay could repeat our password, squeezed: as
// it is, escaped, in hexadecimal, and in base64 with whatever before it. Some
// relays quote the command in their replies, and replies are logged and recorded.
type echoes []string

// echoPart is how much of the base64 is recognised, six bytes of the password:
// a line may be cut off.
const echoPart = 8

const withheld = "(its words are withheld: they repeat the password)"

func newEchoes(password string) echoes {
	var e echoes
	add := func(s string) {
		if s = squeeze(s); s != "" {
			e = append(e, s)
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

// within is what depends on the password alone in the base64 of something that
// has so many bytes before it, by threes, and anything behind it.
func within(password string, before int) string {
	s := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", before) + password))
	end := (before + len(password)) * 8 / 6
	begin := (before*8 + 5) / 6
	return s[min(begin, end):end]
}

// squeeze leaves out what may stand between the characters of a form, and the
// difference between capitals and base64's alphabets.
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
	words = squeeze(words)
	for _, form := range e {
		if strings.Contains(words, form) {
			return true
		}
	}
	return false
}

// hide withholds the words of a reply that does.
func (e echoes) hide(r reply) reply {
	if e.in(strings.Join(r.lines, "")) {
		r.lines = []string{withheld}
	}
	return r
}

// hideErr does the same with an error that holds words of the relay's.
func (e echoes) hideErr(err error) error {
	if err != nil && e.in(err.Error()) {
		return errors.New(withheld)
	}
	return err
}
