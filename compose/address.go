package compose

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

// addresses writes a list of mailboxes (RFC 5322 section 3.4), and no field for an
// empty list. field is its name in the envelope.
func (h *header) addresses(name, field string, list []mail.Address) {
	if len(list) == 0 {
		return
	}
	h.begin(name)
	for i, a := range list {
		at := field
		if field != "from" && field != "sender" {
			at += "[" + strconv.Itoa(i) + "]"
		}
		h.mailbox(at, a, i < len(list)-1)
	}
}

func (h *header) mailbox(field string, a mail.Address, more bool) {
	email := mail.Canonical(a.Email)
	local := email[:strings.LastIndexByte(email, '@')]
	// RFC 6532 section 3.2: a local part has no other encoding.
	h.utf8 = h.utf8 || !isASCII(local)
	spec := local + "@" + h.domain(field, email)
	if a.Name != "" {
		h.phrase(a.Name)
		spec = "<" + spec + ">"
	}
	if more {
		spec += ","
	}
	h.put(spec)
}

// domain returns the address's domain in ASCII.
func (h *header) domain(field, address string) string {
	d := address[strings.LastIndexByte(address, '@')+1:]
	a, err := mail.ASCIIDomain(d)
	if err != nil {
		h.fail(field, "the domain %q cannot be written in ASCII: %v", d, err)
	}
	return a
}

// phrase writes a name as atoms, else quoted, else encoded.
func (h *header) phrase(name string) {
	quoted := quote(name)
	switch words := strings.Split(name, " "); {
	case looksEncoded.MatchString(name), !isPrintable(name):
		h.encoded(name)
	case areAtoms(words):
		for _, w := range words {
			h.put(w)
		}
	case len(quoted) < lineLength-len("Reply-To: "):
		h.put(quoted)
	default:
		h.encoded(name)
	}
}

// areAtoms reports whether all words are atoms (RFC 5322 section 3.2.3) that fit on
// a line.
func areAtoms(words []string) bool {
	for _, w := range words {
		if w == "" || len(w) >= lineLength {
			return false
		}
		for i := range len(w) {
			if c := w[i]; !mail.IsAlnum(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) < 0 {
				return false
			}
		}
	}
	return true
}

// quote writes a quoted string (RFC 5322 section 3.2.4).
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}
