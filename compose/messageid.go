package compose

import (
	"regexp"
	"strings"

	"github.com/postrider/postrider/schema"
)

// msgID is RFC 5322 section 3.6.4, without its obsolete forms.
var msgID = regexp.MustCompile("^<[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@(?:[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+|\\[[!-Z^-~]*\\])>$")

// messageID writes the Message-ID and returns it without its angle brackets:
// the producer's own, or <origin.id@domain of From>. The id in it is for those
// who search a mailbox.
func (h *header) messageID(e *schema.Envelope, origin string) string {
	const name = "Message-ID"
	key, id := given(e.Headers, name)
	if id != "" && (!msgID.MatchString(id) || len(id) > longestWord) {
		h.fail("headers."+key, "%q is not a message id like <left@right> (RFC 5322 section 3.6.4)", schema.Cut(id, 80))
		return ""
	}
	if id == "" {
		left := schema.Token(origin)
		if e.ID != "" {
			left += "." + schema.Token(e.ID)
		}
		id = "<" + left + "@" + h.domain("from", e.From.Email) + ">"
	}
	h.literal(name, id)
	return strings.Trim(id, "<>")
}
