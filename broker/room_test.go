package broker

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/testrun"
)

// TestCheckDisk: it says what the disk lacks, and speaks of room only if that is it.
func TestCheckDisk(t *testing.T) {
	t.Parallel()
	if err := CheckDisk(t.TempDir()); err != nil {
		t.Error(err)
	}
	for options, want := range map[string]string{
		"size=8m":                "make room",
		"size=64m,nr_inodes=10":  "remove files",
		"size=64m,ro":            "let the worker write",
		"size=64m,nr_inodes=999": "",
	} {
		dir := mount(t, "-t", "tmpfs", "-o", options, "tmpfs")
		err := CheckDisk(dir)
		if want == "" && err == nil {
			continue
		}
		if want == "" || err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

// mount mounts a file system at a new directory until the test ends. Where that
// is not allowed the test is skipped.
func mount(t *testing.T, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", append(args, dir)...).CombinedOutput(); err != nil {
		t.Skipf("needs root and file systems to mount: mount %v: %v: %s", args, err, out)
	}
	// By its own: the test's context has ended.
	umount := func() { _ = exec.Command("umount", "-l", dir).Run() }
	done := testrun.OnAbort(umount)
	t.Cleanup(func() {
		umount()
		done()
	})
	return dir
}
