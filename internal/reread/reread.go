// Package reread reads the files of secrets and certificates again whenever they are
// used, so that a change needs no restart. What cannot be used leaves what was read
// before.
package reread

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// File is what settings name: one file or, if they belong together, several.
type File struct {
	// Setting is the variable, for people; of several files all variables.
	Setting string
	Paths   []string
	// Check says what is wrong with the content. Its error must not quote it.
	Check func(content []byte) error
}

// Read reads the file, or the files with a line's end between them, and checks the
// content.
func (f File) Read() ([]byte, error) {
	parts := make([][]byte, len(f.Paths))
	for i, path := range f.Paths {
		var err error
		if parts[i], err = os.ReadFile(path); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Setting, err)
		}
	}
	all := bytes.Join(parts, []byte("\n"))
	if err := f.Check(all); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", f.Setting, strings.Join(f.Paths, ", "), err)
	}
	return all, nil
}

// Kept is a file in use. Its methods may be called concurrently.
type Kept struct {
	file File
	log  *slog.Logger

	mu   sync.Mutex
	last []byte
	bad  bool // the last read failed
}

// Keep begins with that content, which was read before.
func Keep(f File, content []byte, log *slog.Logger) *Kept {
	return &Kept{file: f, last: content, log: log}
}

// Now is the content. If it cannot be read it is what was read last, and that is logged
// once.
func (k *Kept) Now() []byte {
	now, err := k.file.Read()
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.last = now
	} else if !k.bad {
		k.log.Warn("a file cannot be read again; what was read before is used until it is correct", "error", err)
	}
	k.bad = err != nil
	return k.last
}
