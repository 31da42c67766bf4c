package smtp

import (
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/postrider/postrider/mail"
)

// extensions are those of the relay's reply to EHLO that matter here (RFC 5321
// section 4.1.1.1).
type extensions struct {
	pipelining bool // RFC 2920
	startTLS   bool // RFC 3207
	eightBit   bool // RFC 6152
	utf8       bool // RFC 6531
	size       bool // RFC 1870
	// maxSize in bytes; 0 means no fixed limit.
	maxSize int64
	// auth are the mechanisms, in capitals (RFC 4954).
	auth []string
}

// parseExtensions reads the lines after the first one, but not those with a keyword
// that is discarded. Keywords are compared without case (RFC 5321 section 2.4).
func parseExtensions(r reply, discarded []string) extensions {
	var x extensions
	for _, line := range r.lines[1:] {
		words := strings.Fields(strings.ToUpper(line))
		if len(words) == 0 || slices.Contains(discarded, before(words[0], "=")) {
			continue
		}
		switch words[0] {
		case "PIPELINING":
			x.pipelining = true
		case "STARTTLS":
			x.startTLS = true
		case "8BITMIME":
			x.eightBit = true
		case "SMTPUTF8":
			x.utf8 = true
		case "AUTH":
			x.auth = append(x.auth, words[1:]...)
		case "SIZE":
			x.size = true
			if len(words) > 1 {
				// Anything but a number means no fixed limit.
				n, err := strconv.ParseInt(words[1], 10, 64)
				if err == nil && n > 0 {
					x.maxSize = n
				}
			}
		default:
			// The form from before RFC 2554; some relays know no other.
			if mechanism, ok := strings.CutPrefix(words[0], "AUTH="); ok {
				x.auth = append(append(x.auth, mechanism), words[1:]...)
			}
		}
	}
	return x
}

// before is the part of s before sep, or s.
func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}

// hello greets the relay. A relay that does not know EHLO is greeted with HELO and
// has no extensions (RFC 5321 section 3.2).
func (w *wire) hello(name string, c Config) (extensions, *Error) {
	command := "EHLO"
	r, err := w.ask("EHLO "+name, c.Timeouts.Command)
	if err != nil {
		return extensions{}, silenceError(mail.StageEHLO, command, err)
	}
	if r.positive() {
		return parseExtensions(r, c.discarded()), nil
	}
	if r.code/100 == 5 && !wantsCredentials(r.code) {
		command = "HELO"
		if r, err = w.ask("HELO "+name, c.Timeouts.Command); err != nil {
			return extensions{}, silenceError(mail.StageEHLO, command, err)
		}
		if r.positive() {
			return extensions{}, nil
		}
	}
	return extensions{}, replyError(mail.StageEHLO, command, r, "refused "+command, "check that it accepts the name in SMTP_EHLO_NAME")
}

// ehloName is the name to greet with: the configured one, else the host's name if
// it has a domain, else the address that the relay sees (RFC 5321 section 4.1.4).
func ehloName(configured string, local net.Addr) string {
	if configured != "" {
		return configured
	}
	if host, err := os.Hostname(); err == nil && strings.Contains(host, ".") && mail.IsHostName(host) {
		return host
	}
	if a, ok := local.(*net.TCPAddr); ok {
		if a.IP.To4() != nil {
			return "[" + a.IP.String() + "]"
		}
		return "[IPv6:" + a.IP.String() + "]"
	}
	return "localhost"
}
