package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"time"
)

// syncs is how many writes of 4 KiB the disk of a directory syncs in a second, one after the
// other.
func syncs(dir string, during time.Duration) (float64, error) {
	f, err := os.CreateTemp(dir, "yardstick")
	if err != nil {
		return 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := bytes.Repeat([]byte("x"), 4<<10)
	n, began := 0, time.Now()
	for time.Since(began) < during {
		if _, err := f.Write(block); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
		n++
	}
	return float64(n) / time.Since(began).Seconds(), nil
}

// strace is the command that writes a line for each sync of the program whose name and
// arguments follow. The program is the process that is started (-D), and it is stopped at
// no other system call (--seccomp-bpf). A summary (-c) would count what it syncs at its
// start.
func strace(trace string) []string {
	return []string{"strace", "-D", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", trace}
}

// countSyncs counts in what strace has written. A call that another one interrupts has a
// second line, "<... fsync resumed>".
func countSyncs(trace []byte) int { return bytes.Count(trace, []byte("sync(")) }

// noStrace says why syncs cannot be counted; empty if they can.
func noStrace(ctx context.Context) string {
	if _, err := exec.LookPath("strace"); err != nil {
		return "strace is not installed"
	}
	args := append(strace(os.DevNull), "true")
	if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil || len(out) > 0 {
		first, _, _ := strings.Cut(string(out), "\n")
		return "strace does not work here: " + strings.TrimSpace(first)
	}
	return ""
}
