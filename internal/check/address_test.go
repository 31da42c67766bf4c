package check

import (
	"strings"
	"testing"
)

// TestAddress: what is no address is refused and not quoted.
func TestAddress(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"127.0.0.1:8026", ":0", "localhost:65535", "[::1]:80", "[fe80::1%eth0]:80", "my-host.example:1"} {
		if err := Address(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1", "127.0.0.1:SECRET", "127.0.0.1:65536", "127.0.0.1:-1", "u:SECRET@127.0.0.1:8026", "SECRET@h:80", "h/SECRET:80"} {
		if err := Address(bad); err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
