// Package reread reads the files of secrets and certificates again whenever they are
// used, so that a change needs no restart. What cannot be used leaves what was read
// before.
package reread

import (
	"log/slog"
	"sync"
	"time"
)

// File is what settings name: one file or, if they belong together, several.
type File struct {
	// Setting is the variable, for people; of several files all variables.
	Setting string
	Paths   []string
	// Check says what is wrong with the content. Its error must not quote it.
	Check func(content []byte) error
}

// Kept is a file in use. Its methods may be called concurrently.
type Kept struct {
	file File
	log  *slog.Logger

	mu   sync.Mutex
	last []byte
	// fault is why the last read failed; nil if it did not.
	fault error
	// hangs is a read that did not end in time; nil if there is none.
	hangs <-chan result
}

// Keep begins with that content, which was read before.
func Keep(f File, content []byte, log *slog.Logger) *Kept {
	return &Kept{file: f, last: content, log: log}
}

// Now is the content. If it cannot be read it is what was read last, and that is logged
// once. It takes five seconds at most, and nothing while an earlier read hangs.
func (k *Kept) Now() []byte {
	k.mu.Lock()
	defer k.mu.Unlock()
	now, err := k.read()
	if err == nil {
		k.last = now
	} else if k.fault == nil {
		k.log.Warn("a file cannot be read again; what was read before is used until it is correct", "error", err)
	}
	k.fault = err
	return k.last
}

// Fault is why the last [Kept.Now] could not read the file; nil if it could.
func (k *Kept) Fault() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.fault
}

func (k *Kept) read() ([]byte, error) {
	if k.hangs != nil {
		select {
		case <-k.hangs: // what it read may be old
			k.hangs = nil
		default:
			return nil, k.file.wrong(errSlow)
		}
	}
	reading := k.file.begin()
	select {
	case r := <-reading:
		return r.content, r.err
	case <-time.After(readFor):
		k.hangs = reading
		return nil, k.file.wrong(errSlow)
	}
}
