package compose

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// Path is an address as it is in MAIL and RCPT: in its canonical form, with its domain
// in ASCII (RFC 5891 section 4.4). The null path is empty.
type Path struct {
	Address string
	// UTF8: the local part is beyond ASCII, which only a relay with SMTPUTF8 accepts
	// (RFC 6531 section 3.3).
	UTF8 bool
}

// Paths are the reverse path of an envelope and those of its recipients, by index.
// A mailbox that is named again has one each time.
func Paths(e *schema.Envelope) (from Path, to map[int]Path, err error) {
	if from, err = pathOf(e.ReversePath()); err != nil {
		return from, nil, err
	}
	to = make(map[int]Path)
	for i, address := range e.Named() {
		if to[i], err = pathOf(address); err != nil {
			return from, nil, err
		}
	}
	return from, to, nil
}

func pathOf(address string) (Path, error) {
	address = mail.Canonical(address)
	at := strings.LastIndexByte(address, '@')
	if isASCII(address) || at < 0 {
		return Path{Address: address}, nil
	}
	domain, err := mail.ASCIIDomain(address[at+1:])
	if err != nil {
		return Path{}, fmt.Errorf("the domain of %q cannot be written in ASCII: %w", address, err)
	}
	return Path{address[:at+1] + domain, !isASCII(address[:at])}, nil
}
