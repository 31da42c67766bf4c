package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// TestPorts: a worker alone listens on the two addresses that its settings
// name, and on no other: nothing is open for monitoring, clusters, leaf nodes,
// WebSockets or MQTT.
func TestPorts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	relay, _ := w.relay("relay")
	w.set("SMTP_URL", relay) // the development relay has a port of its own
	p := w.worker("worker")
	admin := w.adminOf(p)
	_, broker, _ := strings.Cut(w.get("NATS_LISTEN"), ":")
	_, probes, _ := strings.Cut(strings.TrimPrefix(admin, "http://"), ":")
	want := []string{broker, probes}
	slices.Sort(want)
	w.publishMany(1, 100, "ann@example.net")
	testrun.Eventually(w.t, "the mail is sent", 20*time.Second, func() bool { return w.metric(admin, "postrider_settled_total") == 1 })
	if got := listening(t, p.Cmd.Process.Pid); !slices.Equal(got, want) {
		t.Errorf("it listens on ports %v, want %v", got, want)
	}
}

// listening are the TCP ports that a process listens on, all on loopback.
func listening(t *testing.T, pid int) (ports []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Skipf("this system does not say which files a process has open: %v", err)
	}
	own := map[string]bool{}
	for _, fd := range fds {
		link, _ := os.Readlink(fd)
		own[strings.TrimSuffix(strings.TrimPrefix(link, "socket:["), "]")] = true
	}
	line := regexp.MustCompile(`(?m)^ *\d+: ([0-9A-F]+):([0-9A-F]{4}) [0-9A-F:]+ 0A (?:\S+ +){5}(\d+) `)
	for _, table := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range line.FindAllStringSubmatch(string(b), -1) {
			if !own[m[3]] {
				continue
			}
			if m[1] != "0100007F" && m[1] != "00000000000000000000000001000000" {
				t.Errorf("it listens on %s:%s, which is not loopback", m[1], m[2])
			}
			var port int
			if _, err := fmt.Sscanf(m[2], "%X", &port); err != nil {
				t.Fatal(err)
			}
			ports = append(ports, fmt.Sprint(port))
		}
	}
	slices.Sort(ports)
	return ports
}
