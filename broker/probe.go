package broker

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"time"
)

// greeting is what a NATS server says of itself before anyone has logged in.
type greeting struct {
	Name    string `json:"server_name"`
	Version string `json:"version"`
}

const (
	probeTimeout = 5 * time.Second
	// A server's INFO line is below 4 KiB unless it knows a great many peers.
	maxGreeting = 64 << 10
)

// probe asks whether a NATS server listens at addr (host:port). A server that
// wants TLS before it says anything is not recognised.
func probe(ctx context.Context, addr string) (greeting, bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return greeting{}, false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return greeting{}, false
	}
	line, _ := bufio.NewReader(io.LimitReader(conn, maxGreeting)).ReadString('\n')
	return parseGreeting(line)
}

// parseGreeting reads the line "INFO {…}".
func parseGreeting(line string) (greeting, bool) {
	verb, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
	var g greeting
	if !ok || verb != "INFO" || json.Unmarshal([]byte(rest), &g) != nil || g.Version == "" {
		return greeting{}, false
	}
	return g, true
}
