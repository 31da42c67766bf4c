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

// lockDir makes dir if it is missing and holds a lock on it until the file is
// closed. JetStream takes no lock itself: a second server on the same directory
// starts and loses acknowledged messages. The kernel releases a flock when the
// process ends, however it ends.
//
// It waits for the lock as long as patience: a worker with NATS_URL holds it for
// a moment while it counts the mail that is left there.
func lockDir(ctx context.Context, dir string, patience time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make POSTRIDER_DATA_DIR: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of POSTRIDER_DATA_DIR: %w", err)
	}
	for deadline := time.Now().Add(patience); ; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) || !stream.Pause(ctx, lockPause) {
			break
		}
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock POSTRIDER_DATA_DIR %s: %w by another worker: stop that one, set POSTRIDER_DATA_DIR to another directory, or set NATS_URL to use its broker", dir, ErrDirInUse)
	}
	return nil, fmt.Errorf("lock POSTRIDER_DATA_DIR %s: %w", dir, err)
}
