package app

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"testing"
)

func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	for memory, want := range map[int64]int{
		math.MaxInt64: 32 << 20, 1 << 30: 32 << 20, 512 << 20: 32 << 20, 256 << 20: 16 << 20, 64 << 20: 4 << 20, 1 << 20: 2 << 20,
	} {
		if got := bytesInFlight(memory); got != want {
			t.Errorf("with %d bytes of memory %d may be in flight, want %d", memory, got, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	const limit = 123 << 20
	old := debug.SetMemoryLimit(limit) // as GOMEMLIMIT does
	defer debug.SetMemoryLimit(old)
	if got := memoryLimit(); got > limit {
		t.Errorf("the limit is %d, want at most %d", got, int64(limit))
	}
	for name, c := range map[string]struct {
		file, text string
		want       int64
	}{
		"version 2": {"memory.max", "536870912\n", 512 << 20},
		"no limit":  {"memory.max", "max\n", math.MaxInt64},
		"version 1": {"memory/memory.limit_in_bytes", "268435456\n", 256 << 20},
		"neither":   {"other", "", math.MaxInt64},
	} {
		root := t.TempDir()
		file := filepath.Join(root, c.file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := groupLimit(root); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}
