package compose

import (
	"strings"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// messageID writes the Message-ID (RFC 5322 section 3.6.4) and returns it
// without its angle brackets: the producer's own, or <origin.id@domain of From>. The
// id helps whoever searches a mailbox.
func (h *header) messageID(e *schema.Envelope, origin string) string {
	const name = "Message-ID"
	id := given(e.Headers, name)
	if id == "" {
		id = "<" + originID(e, origin, h.domain("from", mail.Canonical(e.From.Email))) + ">"
	}
	h.literal(name, id)
	return strings.Trim(id, "<>")
}

func originID(e *schema.Envelope, origin, domain string) string {
	left := mail.Token(origin)
	if e.ID != "" {
		left += "." + mail.Token(e.ID)
	}
	return left + "@" + domain
}
