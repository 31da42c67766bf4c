package relays

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/internal/reread"
)

// setting is the variable that names the file.
const setting = "POSTRIDER_RELAYS"

// Config names the file.
type Config struct {
	Path string `env:"POSTRIDER_RELAYS" help:"File of the rules by which replies of the relay are judged before Postrider's own table (docs/operations.md); it is read again when it changes. Empty: no rules. postrider relay check examines it."`
}

// Validate reads the file and reports everything that is wrong with it.
func (c Config) Validate() []error {
	if c.Path == "" {
		return nil
	}
	_, wrong := Read(setting, c.Path)
	return wrong
}

// Files is the file, if there is one.
func (c Config) Files() []reread.File {
	if c.Path == "" {
		return nil
	}
	return []reread.File{{Setting: setting, Paths: []string{c.Path}, Check: func(content []byte) error {
		_, wrong := Parse(content)
		return errors.Join(wrong...)
	}}}
}

// Read reads a file. Each error begins with the setting or flag that names it.
func Read(setting, path string) (*File, []error) {
	content, err := unchecked(setting, path).Read()
	if err != nil {
		return nil, []error{err}
	}
	f, wrong := Parse(content)
	for i, err := range wrong {
		wrong[i] = fmt.Errorf("%s: %s:%w", setting, path, err)
	}
	return f, wrong
}

// unchecked is the file, whatever it holds.
func unchecked(setting, path string) reread.File {
	return reread.File{Setting: setting, Paths: []string{path}, Check: func([]byte) error { return nil }}
}
