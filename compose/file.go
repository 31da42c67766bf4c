package compose

import (
	"maps"
	"mime"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/schema"
)

// file writes an attachment in base64: no other encoding keeps every byte. But a
// message must not be in base64 (RFC 2046 section 5.2.1): it is written as it is, with
// CRLF line ends, like a whole message.
func file(a *schema.Attachment, disposition string) entity {
	return func(h *header) {
		h.contentType(a)
		encoding := "base64"
		if a.IsMessage() {
			encoding = mailEncoding(a)
		}
		h.literal("Content-Transfer-Encoding", encoding)
		h.disposition(disposition, a.Filename)
		if a.ContentID != "" {
			h.literal("Content-ID", "<"+a.ContentID+">") // RFC 2045 section 7
		}
		h.end()
		h.b.WriteString("\r\n")
		switch encoding {
		case "8bit":
			h.eightBit = true
			fallthrough
		case "7bit":
			h.b.Write(appendCRLF(h.b.AvailableBuffer(), a.Content))
		default:
			writeBase64(&h.b, a.Content)
		}
	}
}

// mailEncoding is the encoding of an attached message.
func mailEncoding(a *schema.Attachment) string {
	if isASCIIBytes(a.Content) {
		return "7bit"
	}
	return "8bit"
}

// contentType writes the file's type (RFC 2045 section 5), and its name once more
// for readers that look for it only there.
func (h *header) contentType(a *schema.Attachment) {
	given := a.ContentType
	if given == "" {
		given = byName(a)
	}
	// It is well formed: Validate has checked it.
	value, params, _ := mime.ParseMediaType(given)
	if a.Filename == "" {
		h.mediaType(value, params, "")
		return
	}
	h.mediaType(value, params, ";")
	if isPlainName(a.Filename) {
		h.put(`name="` + a.Filename + `"`)
		return
	}
	// RFC 2047 section 5 allows no encoded words in a parameter. Old readers know
	// no other form, and new ones read Content-Disposition.
	h.encodedWithin(`name="`, a.Filename, `"`)
}

// mediaType writes a Content-Type, and end after it.
func (h *header) mediaType(value string, params map[string]string, end string) {
	for _, k := range slices.Sorted(maps.Keys(params)) {
		_, param, _ := strings.Cut(mime.FormatMediaType("a/b", map[string]string{k: params[k]}), ";")
		value += ";" + param
	}
	h.begin("Content-Type")
	h.put(value + end)
}

// disposition writes Content-Disposition (RFC 2183). A name that is not short ASCII
// is written as in RFC 2231 section 4, and if it is long in the pieces of its
// section 3.
func (h *header) disposition(kind, name string) {
	h.begin("Content-Disposition")
	if name == "" {
		h.put(kind)
		return
	}
	h.put(kind + ";")
	if isPlainName(name) {
		h.put(`filename="` + name + `"`)
		return
	}
	const charset, room = "utf-8''", lineLength - len(" filename*99*=;")
	if value := charset + percent(name); len(value) <= room {
		h.put("filename*=" + value)
		return
	}
	pieces := []string{charset}
	for _, r := range name {
		next := percent(string(r))
		if last := len(pieces) - 1; len(pieces[last])+len(next) <= room {
			pieces[last] += next
		} else {
			pieces = append(pieces, next)
		}
	}
	for i, p := range pieces {
		end := ";"
		if i == len(pieces)-1 {
			end = ""
		}
		h.put("filename*" + strconv.Itoa(i) + "*=" + p + end)
	}
}

// isPlainName reports a name that all readers read the same in quotes.
func isPlainName(s string) bool {
	return isPlain(s) && !strings.ContainsAny(s, `"\`) && len(s) <= lineLength-len(` filename="";`)
}

// percent writes every byte that RFC 2231 section 7 does not allow as %XX.
func percent(s string) string { return escape(s, '%', "!#$&+-.^_`{|}~") }

// byName is the content type for a name's extension. The table is our own and not
// the machine's, so that all workers write the same bytes. A text in UTF-8 has
// that charset.
func byName(a *schema.Attachment) string {
	t, ok := types[strings.ToLower(path.Ext(a.Filename))]
	switch {
	case !ok:
		return "application/octet-stream"
	case strings.HasPrefix(t, "text/") && utf8.Valid(a.Content):
		return t + "; charset=utf-8"
	}
	return t
}

// types are the content types of common extensions, as registered with IANA.
var types = map[string]string{
	".avif": "image/avif", ".bmp": "image/bmp", ".gif": "image/gif", ".heic": "image/heic", ".ico": "image/vnd.microsoft.icon",
	".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".png": "image/png", ".svg": "image/svg+xml", ".tif": "image/tiff",
	".tiff": "image/tiff", ".webp": "image/webp",
	".css": "text/css", ".csv": "text/csv", ".htm": "text/html", ".html": "text/html", ".ics": "text/calendar", ".md": "text/markdown",
	".tsv": "text/tab-separated-values", ".txt": "text/plain", ".vcf": "text/vcard",
	".gz": "application/gzip", ".json": "application/json", ".pdf": "application/pdf", ".rtf": "application/rtf",
	".xml": "application/xml", ".zip": "application/zip", ".p7s": "application/pkcs7-signature",
	".doc": "application/msword", ".xls": "application/vnd.ms-excel", ".ppt": "application/vnd.ms-powerpoint",
	".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
	".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
	".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
	".odp":  "application/vnd.oasis.opendocument.presentation", ".ods": "application/vnd.oasis.opendocument.spreadsheet",
	".odt": "application/vnd.oasis.opendocument.text",
	".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".wav": "audio/vnd.wave",
	".mov": "video/quicktime", ".mp4": "video/mp4", ".webm": "video/webm",
}
