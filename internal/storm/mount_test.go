package storm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/postrider/postrider/internal/testrun"
)

// mount mounts a file system at a new directory until the test ends. Where that
// is not allowed the test is skipped.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("needs root and file systems to mount: mount %v: %v: %s", args, err, out)
	}
	// By its own: the test's context has ended. Lazily: a killed program may still be
	// letting go.
	umount := func() ([]byte, error) { return exec.Command("umount", "-l", dir).CombinedOutput() }
	done := testrun.OnAbort(func() { _, _ = umount() })
	t.Cleanup(func() {
		if out, err := umount(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
		done()
	})
	return dir
}

// image makes a file in dir with an empty file system of that kind in it.
func image(t *testing.T, dir, kind string, bytes int64) string {
	t.Helper()
	name := filepath.Join(dir, kind+".img")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(bytes); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "mkfs."+kind, "-q", name).CombinedOutput(); err != nil {
		t.Skipf("needs mkfs.%s: %v: %s", kind, err, out)
	}
	return name
}
