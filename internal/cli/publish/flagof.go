package publish

import (
	"strconv"
	"strings"

	"github.com/postrider/postrider/schema"
)

// optionFlags are the flags of the fields that say how to send, by the names of
// the JSON form and of the raw form.
var optionFlags = map[string]string{
	"id": "--id", "header " + schema.HeaderMailID: "--id",
	"tenant": "--tenant", "header " + schema.HeaderTenant: "--tenant",
	"expires_at": "--expires", "header " + schema.HeaderExpiresAt: "--expires",
	"max_attempts": "--max-attempts", "header " + schema.HeaderMaxAttempts: "--max-attempts",
	"tags": "--tag", "header " + schema.HeaderTag: "--tag",
	"metadata": "--meta",
	// Of the raw form alone.
	"header " + schema.HeaderMailFrom: "--from", "envelope.mail_from": "--from",
	"header " + schema.HeaderMailTo: "--to", "envelope.rcpt_to": "--to",
}

// mailFlags are those of the fields that a mail is made of.
var mailFlags = map[string]string{
	"from": "--from", "to": "--to", "cc": "--cc", "bcc": "--bcc", "reply_to": "--reply-to",
	"subject": "--subject", "text": "--text", "html": "--html", "headers": "--header",
}

// flagOf is the flag that a field comes from; empty for none.
func (r *asked) flagOf(field string) string {
	name, _, _ := strings.Cut(field, "[")
	if flag := optionFlags[name]; flag != "" {
		return flag
	}
	switch {
	case name == "send_at", name == "header "+schema.HeaderSendAt:
		return r.sendFlag
	case strings.HasPrefix(name, "metadata."), strings.HasPrefix(name, "header "+schema.HeaderMeta):
		return "--meta"
	}
	return ""
}

// flagOf is the flag that a field comes from; empty for none.
func (m *flags) flagOf(field string, r *asked) string {
	name, rest, _ := strings.Cut(field, "[")
	name, _, _ = strings.Cut(name, ".")
	if name == "attachments" {
		index, _, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(index); err == nil && i < len(m.files) {
			return m.files[i]
		}
		return "--attach, --inline"
	}
	if flag := mailFlags[name]; flag != "" {
		return flag
	}
	return r.flagOf(field)
}
