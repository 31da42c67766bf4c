package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// check runs the very code that a worker runs, so that what would be dead is
// not published. flagOf names the flag that a field comes from.
func (a *app) check(header map[string][]string, body []byte, flagOf func(field string) string) error {
	e, err := schema.Decode(header, body)
	if err == nil {
		err = e.CheckRelay()
	}
	if err == nil {
		_, err = compose.Compose(e, wire.Origin(a.now(), 1), a.now())
	}
	if err == nil {
		return nil
	}
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); ok {
		if flag := flagOf(bad.Field); flag != "" {
			return cli.Failf(cli.Data, "%s: a worker would refuse it: %w", flag, err)
		}
	}
	return cli.Failf(cli.Data, "a worker would refuse this mail: %w", err)
}

// flagOf is the flag that a field of the JSON form comes from.
func (m *flags) flagOf(field string, r *asked) string {
	name, rest, _ := strings.Cut(field, "[")
	name, _, _ = strings.Cut(name, ".")
	switch name {
	case "from", "to", "cc", "bcc", "subject", "text", "html", "id":
		return "--" + name
	case "reply_to":
		return "--reply-to"
	case "headers":
		return "--header"
	case "tags":
		return "--tag"
	case "metadata":
		return "--meta"
	case "send_at":
		return r.sendFlag
	case "expires_at":
		return "--expires"
	case "max_attempts":
		return "--max-attempts"
	case "attachments":
		index, _, _ := strings.Cut(rest, "]")
		if i, err := strconv.Atoi(index); err == nil && i < len(m.files) {
			return m.files[i]
		}
		return "--attach, --inline"
	}
	return ""
}

// flagOfHeader is the flag that a header of the raw form comes from.
func flagOfHeader(field string, r *asked) string {
	name, ok := strings.CutPrefix(field, "header ")
	if !ok {
		return ""
	}
	name, _, _ = strings.Cut(name, "[")
	switch name {
	case schema.HeaderMailID:
		return "--id"
	case schema.HeaderMailFrom:
		return "--from"
	case schema.HeaderMailTo:
		return "--to"
	case schema.HeaderSendAt:
		return r.sendFlag
	case schema.HeaderExpiresAt:
		return "--expires"
	case schema.HeaderMaxAttempts:
		return "--max-attempts"
	case schema.HeaderTag:
		return "--tag"
	}
	return "--meta"
}
