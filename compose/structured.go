package compose

import (
	"slices"
	"strings"

	"github.com/postrider/postrider/mail"
)

// longestLine is the longest line that may be sent, without its end (RFC 5322 section
// 2.1.1).
const longestLine = 998

// Fields by who reads them, in lower case. Encoded words are for people: no program
// decodes them in a URL, a message id or an address (RFC 2047 section 5 (3)). All other
// fields are text as long as they hold more than ASCII.
var (
	// peopleFields are text in any case.
	peopleFields = []string{"subject", "comments", "keywords"}
	// mailboxFields are lists of mailboxes: a phrase, and an address that stays as it is.
	mailboxFields = []string{
		"disposition-notification-to", "errors-to", "return-receipt-to", "x-confirm-reading-to", "mail-followup-to", "mail-reply-to",
		"x-complaints-to", "x-report-abuse-to", "apparently-to", "original-recipient",
		"resent-from", "resent-sender", "resent-to", "resent-cc", "resent-bcc", "resent-reply-to",
	}
	// programFields are ASCII and nothing else. So is every other field List-*.
	programFields = []string{
		"references", "in-reply-to", "resent-message-id", "resent-date", "archived-at", "autocrypt", "auto-submitted", "authentication-results",
		"dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results", "received-spf", "feedback-id", "precedence", "priority", "importance",
		"x-priority", "x-msmail-priority", "require-recipient-valid-since", "tls-required", "original-message-id",
	}
)

const listID = "list-id"

// isStructured reports a field that programs read.
func isStructured(low string) bool {
	return strings.HasPrefix(low, "list-") || slices.Contains(mailboxFields, low) || slices.Contains(programFields, low)
}

// own writes one of the producer's own fields; field is its name in errors.
func (h *header) own(field, name, value string) {
	low := strings.ToLower(name)
	structured := isStructured(low)
	switch {
	case slices.Contains(peopleFields, low):
		h.text(name, value, longestWord)
	case isPlain(value), structured && isPrintable(value):
		h.words(field, name, strings.TrimSpace(value))
	case low == listID:
		h.begin(name)
		h.named(field, value, false)
	case slices.Contains(mailboxFields, low):
		h.begin(name)
		list := mail.SplitList(value)
		for i, m := range list {
			h.named(field, m, i < len(list)-1)
		}
	case structured:
		h.fail(field, "must be ASCII, because programs read it: write a URL with percent signs (RFC 3986 section 2.1)")
	default:
		h.text(name, value, longestWord)
	}
}

// words writes a value as it is, folded where it has spaces.
func (h *header) words(field, name, value string) {
	h.begin(name)
	for _, w := range foldable(value) {
		if n := h.line + 1 + len(w); n > longestLine && (h.word == 0 || 1+len(w) > longestLine) {
			h.fail(field, "a word of %d octets does not fit on a line, which has at most %d with the field's name: put a space into it where it may be folded", len(w), longestLine)
			return
		}
		h.put(w)
	}
}

// named writes one mailbox of a field, or a List-Id: what comes before the angle
// brackets as a phrase, and the rest as it is.
func (h *header) named(field, value string, more bool) {
	value = strings.TrimSpace(value)
	a, err := mail.ParseAddress(value)
	angled := strings.HasSuffix(value, ">")
	switch {
	case err != nil:
		h.fail(field, "%v", err)
	case a.ValidateShown() == nil:
		h.mailbox(field, a, more)
	case !angled: // a name alone
		h.phrase(value)
		if more {
			h.put(",")
		}
	case !isPrintable(a.Email) || strings.ContainsAny(a.Email, "<> ") || len(a.Email) > longestWord:
		h.fail(field, "what is in angle brackets must be ASCII without spaces, and fit on a line")
	default:
		if a.Name != "" {
			h.phrase(a.Name)
		}
		end := ">"
		if more {
			end += ","
		}
		h.put("<" + a.Email + end)
	}
}
