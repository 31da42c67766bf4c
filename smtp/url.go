package smtp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"

	"github.com/postrider/postrider/mail"
)

// tlsMode says when TLS begins and whether it must.
type tlsMode string

const (
	tlsNone          tlsMode = "none"
	tlsOpportunistic tlsMode = "opportunistic"
	tlsRequired      tlsMode = "required"
	// tlsImplicit: from the first byte on (RFC 8314 section 3.3).
	tlsImplicit tlsMode = "implicit"
)

// target is what SMTP_URL says.
type target struct {
	host string
	port string
	tls  tlsMode
	// name is the one in the certificate.
	name string
}

// addr is host:port.
func (t target) addr() string { return net.JoinHostPort(t.host, t.port) }

// parseURL reads SMTP_URL. Its errors never quote the URL, which may hold a
// password.
func parseURL(s string) (target, error) {
	if s == "" {
		return target{}, errors.New("is empty; set it to smtp://host:587 or smtps://host:465")
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Opaque != "" {
		return target{}, errors.New("is not a URL like smtp://host:587 or smtps://host:465")
	}
	if u.User != nil {
		return target{}, errors.New("holds a user or password; move them to SMTP_USERNAME and SMTP_PASSWORD")
	}
	if u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return target{}, errors.New("has something after the port; only ?tls= and &servername= may follow")
	}
	t := target{host: u.Hostname(), port: u.Port(), name: u.Hostname()}
	switch u.Scheme {
	case "smtp":
		t.tls, t.port = tlsRequired, orDefault(t.port, "587")
	case "smtps":
		t.tls, t.port = tlsImplicit, orDefault(t.port, "465")
	default:
		return target{}, fmt.Errorf("has scheme %q, must be smtp or smtps", u.Scheme)
	}
	if n, err := strconv.Atoi(t.port); err != nil || n < 1 || n > 65535 {
		return target{}, errors.New("has a port that is not 1 to 65535")
	}
	return t, t.readQuery(u.RawQuery)
}

func (t *target) readQuery(raw string) error {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return errors.New("has options that cannot be read; only ?tls= and &servername= are known")
	}
	for name, values := range q {
		if name != "tls" && name != "servername" || len(values) != 1 {
			return errors.New("has an option that is not known; only one ?tls= and one ?servername= are")
		}
	}
	if name := q.Get("servername"); q.Has("servername") {
		if !mail.IsHostName(name) {
			return errors.New("has a ?servername= that is no domain")
		}
		t.name = name
	}
	mode := tlsMode(q.Get("tls"))
	switch {
	case !q.Has("tls"):
	case t.tls == tlsImplicit:
		if mode != tlsRequired {
			return errors.New("has ?tls=, but smtps:// is always under TLS; use smtp:// for STARTTLS")
		}
	case mode == tlsNone || mode == tlsOpportunistic || mode == tlsRequired:
		t.tls = mode
	default:
		return errors.New("has ?tls= with a value that is not none, opportunistic or required")
	}
	return nil
}

func orDefault(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
