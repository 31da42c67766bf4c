package devrelay

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	suffix = ".eml"
	// incoming begins the name of a mail that is not whole yet.
	incoming = ".incoming-"
	// stampLayout sorts by time and has one length.
	stampLayout = "20060102T150405.000000000Z"
	maxToken    = 64
	// maxHead is how far a Message-ID is looked for, in bytes.
	maxHead = 64 << 10
)

var queueID = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}\.[0-9]{9}Z-[A-Za-z0-9_-]{1,64}$`)

// store is the directory of the mail. Its methods may be called concurrently.
type store struct {
	dir string

	mu   sync.Mutex
	last time.Time // of the last name given; names are never given twice
}

// openStore makes the directory and removes what an earlier run left half
// written: it was never accepted.
func openStore(dir string) (*store, error) {
	if dir == "" {
		return nil, errors.New("open the development relay's directory: it has no name")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the development relay's directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the development relay's directory: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), incoming) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, fmt.Errorf("remove a half-written mail: %w", err)
			}
		}
	}
	return &store{dir: dir}, nil
}

// keep stores a mail and returns its queue id. When it returns, the mail
// outlives a power failure (RFC 5321 section 4.2.5: who says 250 is responsible).
func (s *store) keep(r io.Reader) (string, error) {
	f, err := os.CreateTemp(s.dir, incoming+"*")
	if err != nil {
		return "", fmt.Errorf("make a file for a mail: %w", err)
	}
	defer os.Remove(f.Name()) // gone already where the mail is kept
	defer f.Close()
	in := bufio.NewReaderSize(r, maxHead)
	head, _ := in.Peek(maxHead) // what is wrong with r, the copy hears again
	token := safeToken(messageID(head))
	if _, err := io.Copy(f, in); err != nil {
		return "", fmt.Errorf("write a mail: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return "", fmt.Errorf("write a mail: %w", err)
	}
	id := s.name(token)
	if err := os.Rename(f.Name(), s.file(id)); err != nil {
		return "", fmt.Errorf("name a mail: %w", err)
	}
	return id, s.sync()
}

// sync makes the new name last.
func (s *store) sync() error {
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("open the development relay's directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync the development relay's directory: %w", err)
	}
	return nil
}

// name gives a queue id that no mail has: two mails may share a Message-ID and
// come at once, and a clock may have been set back since the last run.
func (s *store) name(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := time.Now().UTC()
	if !t.After(s.last) {
		t = s.last.Add(1)
	}
	for s.taken(t, token) {
		t = t.Add(1)
	}
	s.last = t
	return queueIDOf(t, token)
}

// taken reports whether a mail has that name. Any error says no: it will come
// up again, with its cause, when the mail gets its name.
func (s *store) taken(t time.Time, token string) bool {
	_, err := os.Lstat(s.file(queueIDOf(t, token)))
	return err == nil
}

func queueIDOf(t time.Time, token string) string { return t.Format(stampLayout) + "-" + token }

// path is the file of that queue id; false if there is none. Queue ids come
// from outside, so only what this store could have given is looked for.
func (s *store) path(id string) (string, bool) {
	if !queueID.MatchString(id) {
		return "", false
	}
	info, err := os.Stat(s.file(id))
	return s.file(id), err == nil && info.Mode().IsRegular()
}

func (s *store) file(id string) string { return filepath.Join(s.dir, id+suffix) }

// messageID is the Message-ID in a head, which may end anywhere; empty where
// there is none.
func messageID(head []byte) string {
	h, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(head))).ReadMIMEHeader()
	return h.Get("Message-Id")
}

// safeToken is what is left of the @ in a Message-ID, as 1 to 64 of A-Z,
// a-z, 0-9, "_" and "-"; random where nothing of it can stay.
func safeToken(messageID string) string {
	left, _, _ := strings.Cut(strings.Trim(messageID, "<> \t"), "@")
	words := strings.FieldsFunc(left, func(r rune) bool { return !isTokenRune(r) })
	token := strings.Join(words, "-")
	if token = token[:min(len(token), maxToken)]; token == "" {
		return rand.Text()
	}
	return token
}

func isTokenRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' || r == '-'
}
