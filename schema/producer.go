package schema

import (
	"strings"

	"github.com/postrider/postrider/mail"
)

// HeaderPrefix begins the names of our own headers. A producer's message with one
// of them is a bad envelope.
const HeaderPrefix = "Postrider-"

// HeaderUnreadable replaces NATS headers that cannot be read, when they are passed
// to [Decode]; it is on no wire. It makes a bad envelope, because the lost headers
// may say not to send.
const HeaderUnreadable = "Postrider-Unreadable"

// Headers a producer may set, besides its own.
const (
	HeaderContentType = "Content-Type"
	HeaderMsgID       = "Nats-Msg-Id"
	// MailPrefix begins the headers of the raw form.
	MailPrefix = "Mail-"
	// HeaderMailID drops no duplicates, only HeaderMsgID does.
	HeaderMailID      = "Mail-Id"
	HeaderMailFrom    = "Mail-From"
	HeaderMailTo      = "Mail-To"
	HeaderSendAt      = "Mail-Send-At"
	HeaderExpiresAt   = "Mail-Expires-At"
	HeaderRelay       = "Mail-Relay"
	HeaderTenant      = "Mail-Tenant"
	HeaderMaxAttempts = "Mail-Max-Attempts"
	HeaderTag         = "Mail-Tag"
	// HeaderMeta begins the headers of metadata. The key follows.
	HeaderMeta = "Mail-Meta-"
	// NATSPrefix begins the headers that the broker reads.
	NATSPrefix = "Nats-"
)

// The two forms of an envelope, as [HeaderContentType] names them.
const (
	TypeJSON    = "application/json"
	TypeMessage = "message/rfc822"
)

// ProducerHeaders are the headers that a copy keeps: the producer's, without those
// that the broker reads and without ours.
func ProducerHeaders(h map[string][]string) map[string][]string {
	kept := make(map[string][]string, len(h)+8)
	for name, values := range h {
		if !mail.HasPrefixFold(name, NATSPrefix) && !mail.HasPrefixFold(name, HeaderPrefix) {
			kept[name] = values
		}
	}
	return kept
}

// HeaderSize is the size of the headers in a NATS message, in bytes.
func HeaderSize(h map[string][]string) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v) + len(": \r\n")
		}
	}
	return n
}

// MsgID is the producer's Nats-Msg-Id, empty for none. Names of headers are
// compared without case; of several the first in the order of their spelling
// counts, so that every reader finds the same.
func MsgID(header map[string][]string) (id string) {
	found := ""
	for name, v := range header {
		if len(v) > 0 && strings.EqualFold(name, HeaderMsgID) && (found == "" || name < found) {
			found, id = name, v[0]
		}
	}
	return id
}
