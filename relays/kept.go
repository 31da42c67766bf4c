package relays

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/postrider/postrider/internal/reread"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
)

// maxFault is the length in bytes to which what is wrong with the file is cut.
const maxFault = 1 << 10

// Kept is the file in use. Its methods may be called concurrently.
type Kept struct {
	path string
	log  *slog.Logger
	kept *reread.Kept

	mu sync.Mutex
	// parsed is the content that was parsed last, and wrong what was wrong with it.
	parsed []byte
	wrong  []error
	// good is what was correct last.
	good *File

	// fault has no part in mu, which is held while the file is read.
	fault atomic.Pointer[fault]
}

// fault is what is wrong with the file; changed is closed when that is no longer so.
type fault struct {
	words   string
	changed chan struct{}
}

// Keep reads the file, which must be correct. Without a path it returns nil, which has no
// rules.
func (c Config) Keep(log *slog.Logger) (*Kept, error) {
	if c.Path == "" {
		return nil, nil
	}
	f := unchecked(setting, c.Path)
	content, err := f.Read()
	if err != nil {
		return nil, err
	}
	good, wrong := Parse(content)
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%s: %s: %w", setting, c.Path, errors.Join(wrong...))
	}
	k := &Kept{path: c.Path, log: log, kept: reread.Keep(f, content, log), parsed: content, good: good}
	k.fault.Store(&fault{changed: make(chan struct{})})
	return k, nil
}

// Rules are those of the file now. If it cannot be read or is wrong, which is logged once,
// they are the former ones. Each content is parsed once.
func (k *Kept) Rules() []smtp.Rule {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	defer k.judge()
	content := k.kept.Now()
	if bytes.Equal(content, k.parsed) {
		return k.good.Rules
	}
	var f *File
	k.parsed = content
	f, k.wrong = Parse(content)
	if len(k.wrong) > 0 {
		k.log.Error(fmt.Sprintf("%s: %s is wrong now: the former rules stay in force until it is correct; postrider relay check examines it", setting, k.path), "error", errors.Join(k.wrong...))
		return k.good.Rules
	}
	k.good = f
	k.log.Info(fmt.Sprintf("%s: %s has changed, and its rules are in force", setting, k.path), "rules", len(f.Rules))
	return f.Rules
}

// Fault is what was wrong with the file when [Kept.Rules] read it last; empty if nothing
// was. The channel is closed when that changes. It does not read, and never waits.
func (k *Kept) Fault() (words string, changed <-chan struct{}) {
	if k == nil {
		return "", nil
	}
	f := k.fault.Load()
	return f.words, f.changed
}

// judge notes what is wrong with the file. The caller holds mu.
func (k *Kept) judge() {
	words := ""
	switch n := len(k.wrong); {
	case k.kept.Fault() != nil:
		words = k.kept.Fault().Error()
	case n > 0:
		words = fmt.Sprintf("%s: %s:%v", setting, k.path, k.wrong[0])
		if n == 2 {
			words += "; and 1 more error"
		} else if n > 2 {
			words += fmt.Sprintf("; and %d more errors", n-1)
		}
	}
	words = mail.Sentence(words, maxFault)
	if old := k.fault.Load(); old.words != words {
		k.fault.Store(&fault{words, make(chan struct{})})
		close(old.changed)
	}
}
