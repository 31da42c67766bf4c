package storm

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// begin starts relay, broker and workers, which end with the test.
func begin(t *testing.T, cfg Config) *storm {
	t.Helper()
	s := prepare(t, cfg)
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	return s
}

// prepare is begin without a start.
func prepare(t *testing.T, cfg Config) *storm {
	t.Helper()
	if cfg.Bin == "" {
		cfg.Bin = build(t, worker)
	}
	if cfg.Drained == 0 {
		cfg.Drained = 3 * time.Minute
	}
	cfg.Dir, cfg.Log = t.TempDir(), t.Logf
	s := newStorm(cfg)
	t.Cleanup(func() {
		s.end()
		if t.Failed() {
			said(t, cfg.Dir)
		}
	})
	return s
}

// said shows the end of what the programs said.
func said(t *testing.T, dir string) {
	files, _ := filepath.Glob(filepath.Join(dir, "*.err"))
	more, _ := filepath.Glob(filepath.Join(dir, "*.out"))
	for _, f := range append(files, more...) {
		if b, err := os.ReadFile(f); err == nil && len(b) > 0 {
			t.Logf("%s:\n%s", filepath.Base(f), tail(b))
		}
	}
}

// producer publishes to the storm's broker with that many clients.
func (s *storm) producer(clients int) *Producer {
	return &Producer{URL: s.url(), Clients: clients}
}

// settled waits until the queue is empty and gives the verdict.
func (s *storm) settled(t *testing.T, p *Producer) *Report {
	t.Helper()
	q, err := s.drain(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.report(p.Acknowledged(), q)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	return r
}

// none fails the test for each of those.
func none(t *testing.T, what string, keys []Key) {
	t.Helper()
	if len(keys) > 0 {
		t.Errorf("%d %s: %v", len(keys), what, keys[:min(len(keys), 20)])
	}
}

// metric is a value of a worker's /metrics, summed over its labels.
func metric(t *testing.T, p *Process, name string) float64 {
	t.Helper()
	m, err := Await(p.Out, `Probes and metrics: (\S+)`, ready)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, m[1]+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	sum := 0.0
	for b := bufio.NewScanner(r.Body); b.Scan(); {
		if line := b.Text(); strings.HasPrefix(line, name+" ") || strings.HasPrefix(line, name+"{") {
			f, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += f
		}
	}
	return sum
}

// burden is what a process weighs.
type burden struct {
	goroutines, descriptors, mib int
}

func (b burden) String() string {
	return fmt.Sprintf("goroutines=%d descriptors=%d memory=%dMiB", b.goroutines, b.descriptors, b.mib)
}

var resident = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func weigh(t *testing.T, p *Process) burden {
	t.Helper()
	proc := fmt.Sprintf("/proc/%d/", p.Cmd.Process.Pid)
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		t.Fatal(err)
	}
	m := resident.FindSubmatch(status)
	if m == nil {
		t.Fatalf("%sstatus has no VmRSS", proc)
	}
	kib, _ := strconv.Atoi(string(m[1]))
	return burden{int(metric(t, p, "go_goroutines")), len(open), kib >> 10}
}

// most is the greatest of each.
func most(all []burden) (b burden) {
	for _, x := range all {
		b = burden{max(b.goroutines, x.goroutines), max(b.descriptors, x.descriptors), max(b.mib, x.mib)}
	}
	return b
}

// ended reports that a process has ended by itself.
func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}
