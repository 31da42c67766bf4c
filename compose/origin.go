package compose

import (
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// fromOrigin is the Date and the Message-ID that a raw message lacks, made like those
// of other messages (RFC 6409 sections 8.2 and 8.3). A signature covers only fields
// that are there, so they are added to a signed message too, except one that a
// signature names to keep it out (RFC 6376 section 8.15). It returns the fields, and
// the Message-ID without its angle brackets, empty if it was not added.
func fromOrigin(e *schema.Envelope, h *mail.Head, origin string, at time.Time) (fields []byte, id string) {
	var add header
	if lacks(h, "Date") {
		add.dated(at)
	}
	if lacks(h, "Message-ID") {
		id = originID(e, origin, idDomain(e, h))
		add.literal("Message-ID", "<"+id+">")
	}
	return add.bytes(), id
}

// lacks reports that the message has no such field and may get one.
func lacks(h *mail.Head, name string) bool {
	for i := range h.Fields {
		f := &h.Fields[i]
		if f.Is(name) || (f.Is("DKIM-Signature") || f.Is("ARC-Message-Signature")) && signs(string(f.Value()), name) {
			return false
		}
	}
	return true
}

// signs reports that a signature's tag h lists the field (RFC 6376 section 3.5).
func signs(signature, name string) bool {
	for tag := range strings.SplitSeq(signature, ";") {
		key, list, _ := strings.Cut(tag, "=")
		if strings.TrimSpace(key) != "h" {
			continue
		}
		for field := range strings.SplitSeq(list, ":") {
			if strings.EqualFold(strings.TrimSpace(field), name) {
				return true
			}
		}
	}
	return false
}

// idDomain is the domain for the Message-ID of a raw message: that of its From field or
// else of its sender.
func idDomain(e *schema.Envelope, h *mail.Head) string {
	var author []string
	if f := h.Find("From"); f != nil {
		author, _ = mail.AddrSpecs(f.Value())
	}
	for _, a := range append(author, e.ReversePath()) {
		a = mail.Canonical(a)
		if d, err := mail.ASCIIDomain(a[strings.LastIndexByte(a, '@')+1:]); err == nil && d != "" {
			return d
		}
	}
	return "localhost"
}
