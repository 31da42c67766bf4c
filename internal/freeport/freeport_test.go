package freeport

import (
	"net"
	"strconv"
	"testing"
)

// TestPort: ports differ, can be listened on, and are none that the kernel gives
// away by itself.
func TestPort(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 200 {
		addr := Addr()
		if seen[addr] {
			t.Errorf("%s is given twice", addr)
		}
		seen[addr] = true
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; port >= 32768 {
			t.Errorf("port %d is one that the kernel gives away", port)
		}
	}
}

// TestFree: who listens on any address has the port, and who has stopped has not.
func TestFree(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "0.0.0.0"} {
		port := Port()
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		if free(port) {
			t.Errorf("port %d is free while %s listens", port, host)
		}
		l.Close()
		if !free(port) {
			t.Errorf("port %d is not free again", port)
		}
	}
}
