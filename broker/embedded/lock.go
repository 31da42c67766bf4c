package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/postrider/postrider/stream"
)

const (
	lockPatience = 3 * time.Second
	lockPause    = 50 * time.Millisecond
)

// dirLock is the lock on a directory: on the directory itself, which stays locked if
// somebody removes its file "lock", and on that file, which is all that earlier
// versions lock.
type dirLock struct{ dir, file *os.File }

// lockDir makes dir if it is missing and locks it until the lock is closed.
// JetStream takes no lock itself: a second server on the same directory
// starts and loses acknowledged messages. The kernel releases a flock when the
// process ends, however it ends.
//
// It waits for the lock as long as patience: a worker with NATS_URL holds it for
// a moment while it counts the mail that is left there.
func lockDir(ctx context.Context, dir string, patience time.Duration) (_ *dirLock, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make POSTRIDER_DATA_DIR: %w", err)
	}
	l := &dirLock{}
	defer func() {
		if err != nil {
			_ = l.Close() // what is not open yet cannot be closed
		}
	}()
	if l.dir, err = os.Open(dir); err != nil {
		return nil, fmt.Errorf("open POSTRIDER_DATA_DIR: %w", err)
	}
	if l.file, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("open the lock of POSTRIDER_DATA_DIR: %w", err)
	}
	deadline := time.Now().Add(patience)
	err = flock(ctx, l.file, deadline)
	if err == nil {
		err = flock(ctx, l.dir, deadline)
	}
	if errors.Is(err, syscall.EBADF) {
		err = nil // NFS locks no directory
	}
	switch {
	case errors.Is(err, syscall.EWOULDBLOCK):
		return nil, fmt.Errorf("lock POSTRIDER_DATA_DIR %s: %w by another worker: stop that one, set POSTRIDER_DATA_DIR to another directory, or set NATS_URL to use its broker", dir, ErrDirInUse)
	case err != nil:
		return nil, fmt.Errorf("lock POSTRIDER_DATA_DIR %s: %w", dir, err)
	}
	return l, nil
}

// flock locks a file or directory, and fails with EWOULDBLOCK if it is still locked
// at the deadline.
func flock(ctx context.Context, f *os.File, deadline time.Time) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) || !stream.Pause(ctx, lockPause) {
			return err
		}
	}
}

// moved fails if dir or its lock is not what was locked any more: somebody removed
// or replaced the files of this process.
func (l *dirLock) moved(dir string) error {
	for path, f := range map[string]*os.File{dir: l.dir, filepath.Join(dir, "lock"): l.file} {
		ours, err := f.Stat()
		if err != nil {
			return err
		}
		if there, err := os.Stat(path); err != nil || !os.SameFile(ours, there) {
			return fmt.Errorf("%s was removed or replaced", path)
		}
	}
	return nil
}

// Close unlocks the directory.
func (l *dirLock) Close() error { return errors.Join(l.file.Close(), l.dir.Close()) }
