package compose

import (
	"bytes"
	"mime"

	"github.com/postrider/postrider/schema"
)

// entity writes a MIME entity: its Content-* fields, an empty line, its body.
type entity func(h *header)

// Boundaries begin with "=_", which neither quoted-printable nor base64 can contain;
// [is7Bit] keeps it out of other text. The rest derives from the origin, so that
// every attempt sends the same bytes.
const (
	boundaryMark    = "=_"
	mixedMark       = boundaryMark + "m"
	alternativeMark = boundaryMark + "a"
	relatedMark     = boundaryMark + "r"
)

// content is the body of the message (RFC 2046 section 5.1): text, HTML and others as
// alternatives, the better one last; inline images beside the HTML that shows them
// (RFC 2387); files beside all of that. HTML without a text gets no text: a
// generated one would say less than none.
func content(e *schema.Envelope, origin string) entity {
	origin = unlike(e.Attachments, origin)
	files, inline := divide(e)
	var ways []entity
	if e.Text != nil {
		ways = append(ways, text("plain", *e.Text))
	}
	if e.HTML != nil {
		body := text("html", *e.HTML)
		if len(inline) > 0 {
			body = multipart(`related; type="text/html"`, relatedMark+origin, "", append([]entity{body}, inline...)...)
		}
		ways = append(ways, body)
	}
	for i := range e.Alternatives {
		ways = append(ways, alternative(&e.Alternatives[i]))
	}
	body := ways[0] // Validate asks for a text or HTML
	if len(ways) > 1 {
		body = multipart("alternative", alternativeMark+origin, "", ways...)
	}
	if len(files) > 0 {
		body = multipart("mixed", mixedMark+origin, encodingOfAll(e.Attachments), append([]entity{body}, files...)...)
	}
	return body
}

// unlike makes the origin longer as long as an attached message has a boundary like
// ours, which is one that was made by us and is attached to itself.
func unlike(attachments []schema.Attachment, origin string) string {
	for i := 0; i < len(attachments); i++ {
		a := &attachments[i]
		for _, mark := range []string{mixedMark, alternativeMark, relatedMark} {
			if a.IsMessage() && bytes.Contains(a.Content, []byte("--"+mark+origin)) {
				origin, i = origin+"_", -1
				break
			}
		}
	}
	return origin
}

// encodingOfAll is what RFC 2045 section 6.4 asks for if a part has eight bits.
func encodingOfAll(attachments []schema.Attachment) string {
	for i := range attachments {
		if a := &attachments[i]; a.IsMessage() && mailEncoding(a) == "8bit" {
			return "8bit"
		}
	}
	return ""
}

// divide separates files from what the HTML shows, which has a content id.
func divide(e *schema.Envelope) (files, inline []entity) {
	for i := range e.Attachments {
		a := &e.Attachments[i]
		if a.ContentID != "" && e.HTML != nil && !a.IsMessage() {
			inline = append(inline, file(a, "inline"))
		} else {
			files = append(files, file(a, "attachment"))
		}
	}
	return files, inline
}

// multipart frames parts. It uses neither mime/multipart nor go-message: those would
// write the fields of each part themselves, and not folded and encoded as [header]
// does, and go-message makes random boundaries.
func multipart(kind, boundary, encoding string, parts ...entity) entity {
	return func(h *header) {
		h.begin("Content-Type")
		h.put("multipart/" + kind + ";")
		h.put(`boundary="` + boundary + `"`)
		if encoding != "" {
			h.literal("Content-Transfer-Encoding", encoding)
		}
		h.end()
		for _, p := range parts {
			h.b.WriteString("\r\n--" + boundary + "\r\n")
			p(h)
		}
		h.b.WriteString("\r\n--" + boundary + "--\r\n")
	}
}

// text writes a text in UTF-8.
func text(subtype, s string) entity {
	return func(h *header) {
		h.literal("Content-Type", "text/"+subtype+"; charset=utf-8")
		h.body(s)
	}
}

// alternative writes a text of another type in UTF-8. It has no Content-Disposition:
// with one, readers show an invitation as a file.
func alternative(a *schema.Alternative) entity {
	return func(h *header) {
		value, params, _ := mime.ParseMediaType(a.ContentType) // Validate has checked it
		params["charset"] = "utf-8"
		h.mediaType(value, params, "")
		h.body(a.Content)
	}
}

// body writes a text, in 7 bits.
func (h *header) body(s string) {
	encoding := encodingOf(s)
	h.literal("Content-Transfer-Encoding", encoding)
	h.end()
	h.b.WriteString("\r\n")
	writeText(&h.b, encoding, s)
}
