package check

import (
	"errors"
	"net"
	"regexp"
	"strconv"
)

var hostName = regexp.MustCompile(`^[A-Za-z0-9._:%-]*$`)

// Address reports what is wrong with an address to listen on, host:port. It does not
// quote it: people mistype URLs with passwords as addresses.
func Address(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil || !hostName.MatchString(host) {
		return errors.New("is not host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return errors.New("has a port that is not 0 to 65535")
	}
	return nil
}
