package broker

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/mail"
)

// Role is the purpose of a connection. The connection and its inboxes are named
// after it, so that permissions can tell workers, operators and producers apart.
type Role string

// The roles.
const (
	// Worker delivers mail. It waits for a broker that is not running yet.
	Worker Role = "worker"
	// Publisher only publishes to lanes.
	Publisher Role = "publish"
	// Operator is postrider.
	Operator Role = "operator"
)

// What POSTRIDER_PROVISION can be.
const (
	Apply  = "apply"
	Verify = "verify"
)

// Config says which broker to use and how. Call [Config.Validate] before use.
type Config struct {
	URL      string      `env:"NATS_URL" help:"NATS servers to use, separated by commas; empty: the worker starts its own broker, publish and postrider use the one at NATS_LISTEN."`
	Creds    string      `env:"NATS_CREDS" help:"File with a NATS user's JWT and seed."`
	NKey     string      `env:"NATS_NKEY" help:"File with the seed of a NATS nkey."`
	User     string      `env:"NATS_USER" help:"User name at the NATS server."`
	Password mail.Secret `env:"NATS_PASSWORD" help:"Password of NATS_USER."`
	Token    mail.Secret `env:"NATS_TOKEN" help:"Token for the NATS server."`
	// PasswordFile and TokenFile are where those two were read from; empty if they were
	// not. They are read again at each connect.
	PasswordFile string `fileof:"NATS_PASSWORD"`
	TokenFile    string `fileof:"NATS_TOKEN"`

	CA   string `env:"NATS_CA" help:"File of PEM certificates that the NATS server's certificate is checked against."`
	Cert string `env:"NATS_CERT" help:"File with the PEM certificate shown to the NATS server."`
	Key  string `env:"NATS_KEY" help:"File with the PEM key of NATS_CERT."`

	Listen  string `env:"NATS_LISTEN" help:"Address of the embedded broker; on a loopback address clients may publish without credentials."`
	DataDir string `env:"POSTRIDER_DATA_DIR" help:"Directory of the embedded broker's mail and credentials."`

	Replicas  int           `env:"POSTRIDER_REPLICAS" help:"Copies of each stream: 0 means 3 in a cluster and 1 elsewhere, and leaves streams that exist as they are."`
	Provision string        `env:"POSTRIDER_PROVISION" help:"apply creates and upgrades streams and consumers; verify creates nothing and refuses to start on what differs."`
	AckWait   time.Duration `env:"POSTRIDER_ACK_WAIT" help:"How long a message belongs to a worker that has fallen silent."`

	// Role is set by the command; the zero Role is Worker.
	Role Role
	// SetAckWait lets Provision change the AckWait of consumers that exist. The
	// worker that embeds the broker may do so in any case.
	SetAckWait bool
}

// DefaultConfig is the configuration of a worker with an embedded broker.
func DefaultConfig() Config {
	return Config{
		Listen:    "127.0.0.1:4222",
		DataDir:   "./data",
		Provision: Apply,
		AckWait:   2 * time.Minute,
		Role:      Worker,
	}
}

// Validate reports everything that is wrong. Each error begins with its
// variable. No error holds a secret.
func (c Config) Validate() []error {
	var wrong check.Errors
	_, err := c.servers()
	wrong.If(err != nil, "NATS_URL: %w", err)
	kinds := c.credentialKinds()
	wrong.If(len(kinds) > 1, "%s: set one of them, they exclude each other", strings.Join(kinds, ", "))
	wrong.If(c.Password != "" && c.User == "", "NATS_PASSWORD: is set without NATS_USER")
	wrong.If((c.Cert == "") != (c.Key == ""), "NATS_CERT, NATS_KEY: set both or neither")
	if c.URL == "" {
		_, _, err := net.SplitHostPort(c.Listen)
		wrong.If(err != nil, "NATS_LISTEN: %q is not host:port", c.Listen)
		wrong.If(c.DataDir == "", "POSTRIDER_DATA_DIR: is empty")
		wrong.If(c.Replicas > 1, "POSTRIDER_REPLICAS: is %d, but the embedded broker is one server; set NATS_URL to a cluster or unset POSTRIDER_REPLICAS", c.Replicas)
	}
	// The server refuses more than five.
	wrong.If(c.Replicas < 0 || c.Replicas > 5, "POSTRIDER_REPLICAS: is %d, must be 0 to 5", c.Replicas)
	wrong.If(c.Provision != Apply && c.Provision != Verify, "POSTRIDER_PROVISION: is %q, must be %s or %s", c.Provision, Apply, Verify)
	wrong.If(c.AckWait < time.Second, "POSTRIDER_ACK_WAIT: is %s, must be at least 1s", c.AckWait)
	return wrong
}

// HasCredential reports that a variable names a credential.
func (c Config) HasCredential() bool { return len(c.credentialKinds()) > 0 }

// credentialKinds are the variables that are set and give a credential.
func (c Config) credentialKinds() []string {
	var kinds []string
	add := func(set bool, name string) {
		if set {
			kinds = append(kinds, name)
		}
	}
	add(c.Creds != "", "NATS_CREDS")
	add(c.NKey != "", "NATS_NKEY")
	add(c.User != "", "NATS_USER")
	add(c.Token != "", "NATS_TOKEN")
	add(c.hasUserInfo(), "a user in NATS_URL")
	return kinds
}

// credentialNames are the variables to look at if the credential is refused.
func (c Config) credentialNames() string {
	switch {
	case c.PasswordFile != "":
		return "NATS_USER, NATS_PASSWORD_FILE"
	case c.User != "":
		return "NATS_USER, NATS_PASSWORD"
	case c.TokenFile != "":
		return "NATS_TOKEN_FILE"
	}
	return cmp.Or(strings.Join(c.credentialKinds(), ", "), "NATS_CREDS, NATS_NKEY, NATS_USER, NATS_TOKEN, POSTRIDER_DATA_DIR")
}

func (c Config) hasUserInfo() bool {
	urls, _ := c.servers()
	for _, u := range urls {
		if u.User != nil {
			return true
		}
	}
	return false
}

// servers are those of NATS_URL or, if that is empty, the embedded broker on
// this machine. Its errors never quote the URL, which may hold a password.
func (c Config) servers() ([]*url.URL, error) {
	if c.URL == "" {
		return []*url.URL{{Scheme: "nats", Host: Reachable(c.Listen)}}, nil
	}
	var urls []*url.URL
	for part := range strings.SplitSeq(c.URL, ",") {
		part = strings.TrimSpace(part)
		if !strings.Contains(part, "://") {
			part = "nats://" + part
		}
		u, err := url.Parse(part)
		if err != nil || u.Hostname() == "" {
			return nil, errors.New("is not a list of URLs like nats://host:4222")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return nil, fmt.Errorf("has scheme %q, must be nats, tls, ws or wss", u.Scheme)
		}
		if u.Port() == "" && (u.Scheme == "nats" || u.Scheme == "tls") {
			u.Host = net.JoinHostPort(u.Hostname(), "4222")
		}
		urls = append(urls, u)
	}
	return urls, nil
}

// address is the servers' hosts and ports, without a secret.
func (c Config) address() string {
	urls, _ := c.servers()
	hosts := make([]string, len(urls))
	for i, u := range urls {
		hosts[i] = u.Host
	}
	return strings.Join(hosts, ", ")
}

// Reachable is an address at which a listener can be reached: one that listens
// on all addresses is reached on loopback.
func Reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// IsLoopback reports whether only this machine can reach a listener.
func IsLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "localhost" || ip != nil && ip.IsLoopback())
}
