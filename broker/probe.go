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

// Greeting is what a NATS server says of itself before a client logs in.
type Greeting struct {
	Name    string `json:"server_name"`
	Version string `json:"version"`
}

const (
	probeTimeout = 5 * time.Second
	// A server's INFO line is below 4 KiB unless it knows a great many peers.
	maxGreeting = 64 << 10
)

// Probe asks whether a NATS server listens at addr (host:port). It waits 5 s at
// most. A server that wants TLS before it says anything is not recognised.
func Probe(ctx context.Context, addr string) (Greeting, bool) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return Greeting{}, false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetReadDeadline(deadline); err != nil {
		return Greeting{}, false
	}
	line, _ := bufio.NewReader(io.LimitReader(conn, maxGreeting)).ReadString('\n')
	return parseGreeting(line)
}

// parseGreeting reads the line "INFO {…}".
func parseGreeting(line string) (Greeting, bool) {
	verb, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
	var g Greeting
	if !ok || verb != "INFO" || json.Unmarshal([]byte(rest), &g) != nil || g.Version == "" {
		return Greeting{}, false
	}
	return g, true
}
