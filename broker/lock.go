package broker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	lockPatience = 3 * time.Second
	lockPause    = 50 * time.Millisecond
)

// lockDir makes dir where it is missing and holds it until the file is closed.
// JetStream takes no lock itself: a second server on the same directory starts
// and loses acknowledged messages. A flock ends with its process, however that
// ends.
//
// It waits a little for one who holds it: a worker with NATS_URL looks whether
// mail is left there, and is done in a moment.
func lockDir(ctx context.Context, dir string, patience time.Duration) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make DATA_DIR: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock of DATA_DIR: %w", err)
	}
	for deadline := time.Now().Add(patience); ; {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(deadline) || !pause(ctx, lockPause) {
			break
		}
	}
	f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("lock DATA_DIR %s: %w by another worker: stop that one, set DATA_DIR to another directory, or set NATS_URL to use its broker", dir, ErrDirInUse)
	}
	return nil, fmt.Errorf("lock DATA_DIR %s: %w", dir, err)
}
