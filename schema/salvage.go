package schema

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/postrider/postrider/mail"
)

// maxMembers is how many members of an object, and lines of a header, are looked at in
// an envelope that is refused.
const maxMembers = 1000

// Salvage is what can be read of an envelope that [Decode] refuses, for people who look
// for it: its id, sender, recipients, subject and tags. They come from the Mail-*
// headers or else from the body, whatever its form. Everything is text of one line and
// within its limit, and the id is valid; an address need not be one that can be sent
// to. Nothing of it may be sent.
func Salvage(header map[string][]string, body []byte) *Envelope {
	s := salvage{e: new(Envelope)}
	for _, name := range sortedNames(header) {
		for _, v := range header[name] {
			s.option(strings.ToLower(name), v)
		}
	}
	if text := bytes.TrimLeft(body, "\ufeff \t\r\n"); bytes.HasPrefix(text, []byte("{")) {
		object(text, s.member)
	} else {
		s.message(body)
	}
	return s.e
}

// HeaderID is the id that the NATS headers name: a Mail-Id or else the Nats-Msg-Id;
// empty if neither is valid. It needs no body.
func HeaderID(header map[string][]string) string {
	s := salvage{e: new(Envelope)}
	for _, name := range sortedNames(header) {
		if strings.EqualFold(name, HeaderMailID) {
			for _, v := range header[name] {
				s.id(v)
			}
		}
	}
	s.id(MsgID(header))
	return s.e.ID
}

type salvage struct {
	e *Envelope
}

func (s *salvage) option(low, v string) {
	switch low {
	case "mail-id":
		s.id(v)
	case "mail-from":
		v = mail.Sentence(v, maxSalvaged)
		s.e.path().MailFrom = &v
	case "mail-to":
		s.path(loose(v))
	case "mail-tag":
		s.tag(v)
	}
}

// maxSalvaged is the length of an address, in bytes.
const maxSalvaged = 254

// id takes the first one that is valid without the spaces at its ends.
func (s *salvage) id(v string) {
	if v = strings.TrimSpace(v); s.e.ID == "" && v != "" && ValidateID(v) == nil {
		s.e.ID = v
	}
}

func (s *salvage) tag(v string) {
	if v = mail.Sentence(v, maxTag); v != "" && len(s.e.Tags) < maxTags {
		s.e.Tags = append(s.e.Tags, v)
	}
}

func (s *salvage) path(list []string) {
	p := s.e.path()
	p.RcptTo = upTo(MaxRecipients, append(p.RcptTo, list...))
}

func upTo[T any](n int, list []T) []T { return list[:min(n, len(list))] }

// loose are the addresses in a string, as they are written.
func loose(v string) []string {
	if !mail.HasControl(v) {
		if list := mail.LooseAddrSpecs([]byte(v), MaxRecipients); len(list) > 0 {
			return list
		}
	}
	if v = mail.Sentence(v, maxSalvaged); v != "" {
		return []string{v}
	}
	return nil
}

// member takes the value of one field of the JSON form. The first of a name counts.
func (s *salvage) member(name string, v jsontext.Value) {
	e := s.e
	switch strings.ToLower(name) {
	case "id":
		s.id(scalar(v))
	case "sender":
		if list := addressesIn(v); e.Sender.Email == "" && len(list) > 0 {
			e.Sender = list[0]
		}
	case "from":
		if list := addressesIn(v); e.From.Email == "" && len(list) > 0 {
			e.From = list[0]
		}
	case "to":
		e.To = upTo(MaxRecipients, append(e.To, addressesIn(v)...))
	case "cc":
		e.Cc = upTo(MaxRecipients, append(e.Cc, addressesIn(v)...))
	case "bcc":
		e.Bcc = upTo(MaxRecipients, append(e.Bcc, addressesIn(v)...))
	case "subject":
		if e.Subject == "" {
			e.Subject = mail.Sentence(scalar(v), maxSubject)
		}
	case "tags":
		for _, t := range elements(v) {
			s.tag(scalar(t))
		}
	case "envelope":
		object(v, s.pathMember)
	case "raw":
		if raw, err := base64.StdEncoding.DecodeString(scalar(v)); err == nil {
			s.message(raw)
		}
	}
}

func (s *salvage) pathMember(name string, v jsontext.Value) {
	switch strings.ToLower(name) {
	case "mail_from":
		if from := mail.Sentence(scalar(v), maxSalvaged); s.e.path().MailFrom == nil {
			s.e.path().MailFrom = &from
		}
	case "rcpt_to":
		for _, a := range addressesIn(v) {
			s.path([]string{a.Email})
		}
	}
}

// message takes what the header of a message has, as far as it can be read.
func (s *salvage) message(raw []byte) {
	e, h := s.e, mail.ReadLooseHead(mail.WithoutFirstLine(raw), maxMembers)
	if f := h.Find("Subject"); f != nil && e.Subject == "" {
		e.Subject = readable(f.Value())
	}
	resent, prefix := h.Resent(), ""
	if resent != nil {
		h, prefix = resent, "Resent-"
	}
	for _, name := range []string{prefix + "Sender", prefix + "From"} {
		if list := fieldAddresses(h, name); len(list) > 0 && e.From.Email == "" {
			e.From = list[0]
		}
	}
	if e.recipientCount() == 0 {
		e.To, e.Cc, e.Bcc = fieldAddresses(h, prefix+"To"), fieldAddresses(h, prefix+"Cc"), fieldAddresses(h, prefix+"Bcc")
	}
}

func fieldAddresses(h *mail.Head, name string) (list []mail.Address) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Is(name) && len(list) < MaxRecipients {
			for _, a := range mail.LooseAddrSpecs(f.Value(), MaxRecipients-len(list)) {
				list = append(list, mail.Address{Email: a})
			}
		}
	}
	return list
}

// lenient reads what clients write by mistake.
func lenient(v []byte) *jsontext.Decoder {
	return jsontext.NewDecoder(bytes.NewBuffer(v), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// object calls member for the members of an object, up to the first that cannot be
// read.
func object(v []byte, member func(name string, v jsontext.Value)) {
	d := lenient(v)
	if t, err := d.ReadToken(); err != nil || t.Kind() != '{' {
		return
	}
	for range maxMembers {
		t, err := d.ReadToken()
		if err != nil || t.Kind() != '"' {
			return
		}
		name := t.String()
		value, err := d.ReadValue()
		if err != nil {
			return
		}
		member(name, value)
	}
}

// elements are those of an array, or the value itself if it is none.
func elements(v jsontext.Value) (list []jsontext.Value) {
	if v.Kind() != '[' {
		return []jsontext.Value{v}
	}
	d := lenient(v)
	_, _ = d.ReadToken() // the bracket
	for len(list) < maxMembers && d.PeekKind() != ']' {
		x, err := d.ReadValue()
		if err != nil {
			break
		}
		list = append(list, slices.Clone(x))
	}
	return list
}

// scalar is a string or a number as text; empty for anything else.
func scalar(v jsontext.Value) string {
	switch v.Kind() {
	case '"':
		b, _ := jsontext.AppendUnquote(nil, v) // it was read: only its UTF-8 may be wrong
		return string(b)
	case '0':
		return string(v)
	}
	return ""
}

// addressesIn are the addresses in a string, an object with an email, or an array of
// them.
func addressesIn(v jsontext.Value) (list []mail.Address) {
	for _, x := range elements(v) {
		text := scalar(x)
		if x.Kind() == '{' {
			object(x, func(name string, v jsontext.Value) {
				if strings.EqualFold(name, "email") {
					text = scalar(v)
				}
			})
		}
		for _, a := range loose(text) {
			list = append(list, mail.Address{Email: a})
		}
	}
	return list
}
