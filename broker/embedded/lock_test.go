package embedded

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestLockWaitsALittle: a process that holds the lock for a moment, to count the
// mail that is left, does not keep a broker from starting.
func TestLockWaitsALittle(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := lockDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(t.Context(), dir, 0); !errors.Is(err, ErrDirInUse) {
		t.Errorf("locked twice: %v", err)
	}
	time.AfterFunc(200*time.Millisecond, func() { held.Close() })
	got, err := lockDir(t.Context(), dir, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	got.Close()
}

// TestLockOutlivesItsFile: whoever removes the file "lock" does not let a second
// broker onto the store.
func TestLockOutlivesItsFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	held, err := lockDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(t.Context(), dir, 0); !errors.Is(err, ErrDirInUse) {
		t.Errorf("locked twice: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := lockDir(t.Context(), dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	got.Close()
}
