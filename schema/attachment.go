package schema

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"
)

// checkAttachments checks the attachments. A content id must be unique (RFC 2392).
func (e *Envelope) checkAttachments() error {
	if n := len(e.Attachments); n > MaxAttachments {
		return badField("attachments", "%d attachments, at most %d are allowed", n, MaxAttachments)
	}
	seen := make(map[string]bool)
	for i, a := range e.Attachments {
		field, err := a.check()
		if err == nil && a.ContentID != "" && seen[a.ContentID] {
			field, err = "content_id", fmt.Errorf("%q is also another attachment's", mail.Cut(a.ContentID, 80))
		}
		if err != nil {
			return badField(fmt.Sprintf("attachments[%d].%s", i, field), "%v", err)
		}
		seen[a.ContentID] = true
	}
	return nil
}

// check reports the first rule that is broken, and the field.
func (a *Attachment) check() (field string, err error) {
	if a.Content == nil {
		return "content", errors.New("missing: must be the bytes in base64")
	}
	if a.Filename == "" && a.ContentID == "" {
		return "filename", errors.New("missing: an attachment must have a filename or a content_id")
	}
	for _, f := range []struct {
		name, value string
		validate    func(string) error
	}{
		{"filename", a.Filename, validateFilename},
		{"content_type", a.ContentType, validateContentType},
		{"content_id", a.ContentID, validateContentID},
	} {
		if f.value == "" {
			continue
		}
		if err := f.validate(f.value); err != nil {
			return f.name, err
		}
	}
	if a.IsMessage() && bytes.IndexByte(a.Content, 0) >= 0 {
		return "content", errors.New("a message with a NUL can be sent only as application/octet-stream")
	}
	return "", nil
}

// IsMessage reports a whole message, which must not be in base64 (RFC 2046 section
// 5.2.1).
func (a *Attachment) IsMessage() bool {
	t, _, err := mime.ParseMediaType(a.ContentType)
	return err == nil && t == TypeMessage
}

// validateFilename refuses directories: with them a reader might save the file
// outside of the directory that was chosen.
func validateFilename(s string) error {
	switch n := utf8.RuneCountInString(s); {
	case n == 0:
		return errors.New("must not be empty; omit it")
	case n > maxFilename:
		return fmt.Errorf("the name has %d characters, at most %d are allowed", n, maxFilename)
	case !utf8.ValidString(s):
		return errors.New("the name is not valid UTF-8")
	case mail.HasControl(s):
		return errors.New("the name contains a control character or a line break")
	case strings.ContainsAny(s, `/\`):
		return fmt.Errorf(`%q must be a name without a directory: no / and no \`, mail.Cut(s, 80))
	}
	return nil
}

// validateContentType checks RFC 2045 section 5.1. A multipart or a message must
// not be sent in base64 (RFC 2045 section 6.4), which attachments are, except
// message/rfc822.
func validateContentType(s string) error {
	t, params, err := mime.ParseMediaType(s)
	switch {
	case err != nil || !strings.Contains(t, "/") || len(s) > maxContentType || strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) >= 0:
		return fmt.Errorf("%q is not a media type like text/csv; charset=utf-8 (RFC 2045 section 5.1)", mail.Cut(s, 80))
	case strings.HasPrefix(t, "multipart/"), strings.HasPrefix(t, "message/") && t != TypeMessage:
		return fmt.Errorf("%s is not allowed; omit content_type or use application/octet-stream", t)
	}
	for name := range params {
		if strings.HasPrefix(name, "name") || mime.FormatMediaType(t, map[string]string{name: params[name]}) == "" {
			return fmt.Errorf("parameter %s is not allowed: the name goes into filename, and others must be plain ASCII", mail.Cut(name, 40))
		}
	}
	return nil
}

func checkAlternatives(list []Alternative) error {
	if n := len(list); n > MaxAlternatives {
		return badField("alternatives", "%d alternatives, at most %d are allowed", n, MaxAlternatives)
	}
	for i, a := range list {
		field := fmt.Sprintf("alternatives[%d]", i)
		if err := validateTextType(a.ContentType); err != nil {
			return badField(field+".content_type", "%v", err)
		}
		if strings.IndexByte(a.Content, 0) >= 0 {
			return badField(field+".content", "contains a NUL")
		}
	}
	return nil
}

// validateTextType checks the type of an alternative, which is a text in UTF-8.
func validateTextType(s string) error {
	if err := validateContentType(s); err != nil {
		return err
	}
	t, params, _ := mime.ParseMediaType(s)
	switch {
	case t == "text/plain", t == "text/html":
		return fmt.Errorf("%s goes into the field %s", t, map[string]string{"text/plain": "text", "text/html": "html"}[t])
	case !strings.HasPrefix(t, "text/"):
		return fmt.Errorf("%s is not text/*: put it into attachments", mail.Cut(t, 80))
	case params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8"):
		return errors.New("the charset must be utf-8")
	}
	return nil
}

// validateContentID checks what goes between the angle brackets of Content-ID (RFC
// 2045 section 7) and after "cid:" in the HTML. An @ is not required.
func validateContentID(s string) error {
	if s == "" || len(s) > maxContentID {
		return fmt.Errorf("has %d characters, 1 to %d are allowed", len(s), maxContentID)
	}
	for i := range len(s) {
		if !mail.IsAlnum(s[i]) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.@", s[i]) < 0 {
			return fmt.Errorf("%q must consist of letters, digits and !#$%%&'*+-/=?^_`{|}~.@, without angle brackets", mail.Cut(s, 80))
		}
	}
	return nil
}
