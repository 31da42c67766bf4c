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

// LimitMemory has Go collect garbage before the process reaches the limit of its control
// group, and is killed: from nine tenths of it on. GOMEMLIMIT, if set, is used instead.
func LimitMemory() {
	if limit := groupLimit(groups); os.Getenv("GOMEMLIMIT") == "" && limit < math.MaxInt64 {
		debug.SetMemoryLimit(limit / 10 * 9)
	}
}

// groups is where a process in a container sees its control group.
const groups = "/sys/fs/cgroup"

// memoryLimit is what this process may use: GOMEMLIMIT or the control group's limit,
// whichever is lower. It is math.MaxInt64 if there is none.
func memoryLimit() int64 {
	return min(debug.SetMemoryLimit(-1), groupLimit(groups))
}

// groupLimit is the limit of the control group at root, by version 2 or version 1 of the
// interface; math.MaxInt64 if there is none.
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
