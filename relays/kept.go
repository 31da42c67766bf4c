package relays

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/postrider/postrider/internal/reread"
	"github.com/postrider/postrider/smtp"
)

// Kept is the file in use. Its methods may be called concurrently.
type Kept struct {
	path string
	log  *slog.Logger
	kept *reread.Kept

	mu sync.Mutex
	// parsed is the content that was parsed last, whether it was correct or not.
	parsed []byte
	// good is what was correct last.
	good *File
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
	return &Kept{path: c.Path, log: log, kept: reread.Keep(f, content, log), parsed: content, good: good}, nil
}

// Rules are those of the file now. If it cannot be read or is wrong, which is logged once,
// they are the former ones. Each content is parsed once.
func (k *Kept) Rules() []smtp.Rule {
	if k == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	content := k.kept.Now()
	if bytes.Equal(content, k.parsed) {
		return k.good.Rules
	}
	k.parsed = content
	f, wrong := Parse(content)
	if len(wrong) > 0 {
		k.log.Error(fmt.Sprintf("%s: %s is wrong now: the former rules stay in force until it is correct; postrider relay check examines it", setting, k.path), "error", errors.Join(wrong...))
		return k.good.Rules
	}
	k.good = f
	k.log.Info(fmt.Sprintf("%s: %s has changed, and its rules are in force", setting, k.path), "rules", len(f.Rules))
	return f.Rules
}
