package check

import (
	"fmt"
	"net"
	"strconv"
)

// HostPort reports why s is not an address to listen on. Port 0 is any.
func HostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not host:port", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q has port %q, must be 0 to 65535", s, port)
	}
	return nil
}
