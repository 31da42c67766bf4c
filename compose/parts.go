package compose

import (
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

// content is the body of the message (RFC 2046 section 5.1): text and HTML as
// alternatives, the better one last; inline images beside the HTML that shows them
// (RFC 2387); files beside all of that. HTML without a text gets no text: a
// generated one would say less than none.
func content(e *schema.Envelope, origin string) entity {
	files, inline := divide(e)
	var body entity
	if e.HTML != nil {
		body = text("html", *e.HTML)
		if len(inline) > 0 {
			body = multipart(`related; type="text/html"`, relatedMark+origin, append([]entity{body}, inline...)...)
		}
	}
	switch {
	case e.HTML == nil:
		body = text("plain", *e.Text)
	case e.Text != nil:
		body = multipart("alternative", alternativeMark+origin, text("plain", *e.Text), body)
	}
	if len(files) > 0 {
		body = multipart("mixed", mixedMark+origin, append([]entity{body}, files...)...)
	}
	return body
}

// divide separates files from what the HTML shows, which has a content id.
func divide(e *schema.Envelope) (files, inline []entity) {
	for i := range e.Attachments {
		a := &e.Attachments[i]
		if a.ContentID != "" && e.HTML != nil {
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
func multipart(kind, boundary string, parts ...entity) entity {
	return func(h *header) {
		h.begin("Content-Type")
		h.put("multipart/" + kind + ";")
		h.put(`boundary="` + boundary + `"`)
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
		encoding := encodingOf(s)
		h.literal("Content-Transfer-Encoding", encoding)
		h.end()
		h.b.WriteString("\r\n")
		writeText(&h.b, encoding, s)
	}
}
