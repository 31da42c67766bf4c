package storm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// Build builds programs of the module, named from its root, into dir, static as
// they are shipped, with further flags of go build.
func Build(root, dir string, flags []string, programs ...string) error {
	args := append(append([]string{"build"}, flags...), "-o", dir)
	build := exec.Command("go", append(args, programs...)...)
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build %v: %w\n%s", programs, err, out)
	}
	return nil
}

// Newer writes, in dir, an overlay for go build that makes a worker of a later
// version: its settings have another number, and it keeps dead letters for a day
// longer.
func Newer(root, dir string) (overlay string, err error) {
	return Changed(root, dir, "broker/version.go", "settingsVersion = 2", "settingsVersion = 3", "deadFor = 90 * day", "deadFor = 91 * day")
}

// Changed writes, in dir, an overlay for go build in which a file of the module has each
// old text, which it has once, replaced by the new one that follows it.
func Changed(root, dir, file string, oldnew ...string) (overlay string, err error) {
	source, err := filepath.Abs(filepath.Join(root, filepath.FromSlash(file)))
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	text := string(b)
	for pair := range slices.Chunk(oldnew, 2) {
		if n := strings.Count(text, pair[0]); n != 1 {
			return "", fmt.Errorf("%s has %d times %q, which the test is to change", file, n, pair[0])
		}
		text = strings.Replace(text, pair[0], pair[1], 1)
	}
	changed := filepath.Join(dir, filepath.Base(source))
	overlay = filepath.Join(dir, "overlay.json")
	err = os.WriteFile(changed, []byte(text), 0o600) //nolint:gosec // into the directory of the test
	if err == nil {
		err = os.WriteFile(overlay, fmt.Appendf(nil, `{"Replace": {%q: %q}}`, source, changed), 0o600)
	}
	return overlay, err
}

// Process is a running program; its output is in files.
type Process struct {
	Cmd *exec.Cmd
	// Out and Err are the files of its standard output and error.
	Out, Err string
	done     chan struct{}
}

// Start runs a program until it ends or is ended. env is its whole environment: it
// gets nothing of the tests' own, such as POSTRIDER_TEST_FULL, which our programs
// would refuse. Its output goes to name.out and name.err in dir.
func Start(name, dir string, env []string, program string, args ...string) (*Process, error) {
	p := &Process{
		Cmd: exec.Command(program, args...), done: make(chan struct{}),
		Out: filepath.Join(dir, name+".out"), Err: filepath.Join(dir, name+".err"),
	}
	p.Cmd.Dir, p.Cmd.Env = dir, append([]string{}, env...) // nil would be that of the tests
	stdout, err := os.OpenFile(p.Out, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := os.OpenFile(p.Err, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	p.Cmd.Stdout, p.Cmd.Stderr = stdout, stderr
	if err := p.Cmd.Start(); err != nil {
		return nil, err
	}
	ended := testrun.OnAbort(func() { _ = p.Cmd.Process.Kill() })
	go func() {
		_ = p.Cmd.Wait()
		ended()
		close(p.done)
	}()
	return p, nil
}

// endFor is longer than a worker drains.
const endFor = 100 * time.Second

// End sends a signal and waits for the end.
func (p *Process) End(sig syscall.Signal) error {
	_ = p.Cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(endFor):
		_ = p.Cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end in %s after %v", p.Cmd.Path, endFor, sig)
	}
}

// Await reads a file until the pattern matches, and gives the match's groups.
func Await(file, pattern string, d time.Duration) ([]string, error) {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(d); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(file)
		if err == nil {
			if m := re.FindStringSubmatch(string(b)); m != nil {
				return m, nil
			}
		}
		if time.Now().After(deadline) {
			said, _ := os.ReadFile(strings.TrimSuffix(file, ".out") + ".err")
			return nil, fmt.Errorf("%s: no match for %q in %s; it holds:\n%s\n%s", file, pattern, d, tail(b), tail(said))
		}
	}
}

// tail is the end of what a program said, and before it the beginning: what went
// wrong first often explains what is repeated at the end.
func tail(b []byte) []byte {
	if len(b) < 6000 {
		return b
	}
	return slices.Concat(b[:2000], []byte("\n[...]\n"), b[len(b)-4000:])
}
