package app

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
)

const (
	// mostInFlight is half of what a NATS server lets one client leave unread
	// (max_pending, 64 MiB) before it throws the client out.
	mostInFlight = 32 << 20
	// leastInFlight lets small mail flow on the smallest machine.
	leastInFlight = 2 << 20
	// memoryParts: a message in flight takes about six times its bytes, with what is
	// decoded and composed of it, and other things need memory too.
	memoryParts = 16
)

// bytesInFlight is how many bytes of mail a worker may have in flight with that memory.
func bytesInFlight(memory int64) int {
	return int(max(leastInFlight, min(mostInFlight, memory/memoryParts)))
}

// memoryLimit is what this process may use: GOMEMLIMIT or the control group's limit,
// whichever is lower. It is math.MaxInt64 if there is none.
func memoryLimit() int64 {
	return min(debug.SetMemoryLimit(-1), groupLimit("/sys/fs/cgroup"))
}

// groupLimit is the limit of the control group that a container sees at root, by
// version 2 or version 1 of the interface.
func groupLimit(root string) int64 {
	for _, file := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 { // not "max"
			return n
		}
	}
	return math.MaxInt64
}
