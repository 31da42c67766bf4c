package reread

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

const (
	// readFor bounds a read: a file system of another machine may not answer.
	readFor = 5 * time.Second
	// most is the size of a file of certificates that nobody reaches.
	most = 1 << 20
)

var errSlow = fmt.Errorf("the file system did not answer within %s", readFor)

// Read reads the file, or the files with a line's end between them, and checks the
// content. It takes five seconds at most.
func (f File) Read() ([]byte, error) {
	select {
	case r := <-f.begin():
		return r.content, r.err
	case <-time.After(readFor):
		return nil, f.wrong(errSlow)
	}
}

// result is what a read gave.
type result struct {
	content []byte
	err     error
}

// begin begins to read. Nothing ends a read that hangs.
func (f File) begin() <-chan result {
	done := make(chan result, 1)
	go func() {
		content, err := f.read()
		done <- result{content, err}
	}()
	return done
}

func (f File) read() ([]byte, error) {
	parts := make([][]byte, len(f.Paths))
	for i, path := range f.Paths {
		var err error
		if parts[i], err = readFile(path); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Setting, err)
		}
	}
	all := bytes.Join(parts, []byte("\n"))
	if err := f.Check(all); err != nil {
		return nil, f.wrong(err)
	}
	return all, nil
}

func (f File) wrong(err error) error {
	return fmt.Errorf("%s: %s: %w", f.Setting, strings.Join(f.Paths, ", "), err)
}

// readFile reads a regular file: a pipe would wait for its writer, and be empty at the
// next read.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && len(content) > most {
		err = fmt.Errorf("%s: has more than %d bytes", path, most)
	}
	return content, err
}

// IsSecret is the check of a file with a password or a token, which is one line (RFC 4013
// section 2.3 prohibits control characters).
func IsSecret(content []byte) error {
	switch secret := Secret(content); {
	case secret == "":
		return errors.New("is empty")
	case strings.ContainsRune(secret, 0):
		return errors.New("holds a NUL")
	case strings.ContainsAny(secret, "\r\n"):
		return errors.New("has several lines, must have one")
	}
	return nil
}

// Secret is the line that a file of a secret holds, without its end.
func Secret(content []byte) string { return string(bytes.TrimRight(content, "\r\n")) }
