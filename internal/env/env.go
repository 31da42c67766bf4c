// Package env reads settings from the environment into the Config structs of
// the packages. It reports every problem at once, each by the variable's name,
// reads a secret KEY from the file that KEY_FILE names, and finds variables
// that look like settings and are none.
package env

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/postrider/postrider/internal/reread"
	"github.com/postrider/postrider/mail"
)

// Lookup finds a variable, like os.LookupEnv.
type Lookup func(name string) (value string, set bool)

// Of is the lookup in an environment as of [os.Environ]: of two variables with
// one name the last counts, as in [os/exec].
func Of(environ []string) Lookup {
	vars := make(map[string]string, len(environ))
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	return func(name string) (string, bool) {
		value, set := vars[name]
		return value, set
	}
}

// Validator is a Config that knows its own rules.
type Validator interface {
	// Validate reports everything that is wrong, each error naming its variable.
	Validate() []error
}

// Read fills those fields of targets, pointers to structs, that have a tag
// env:"NAME" and whose variable is set and not empty. The values they have
// before are the defaults. A field with the tag fileof:"NAME" gets the name of the
// file that the secret NAME was read from, for programs that read it again. Then it validates the targets that are a [Validator].
func Read(lookup Lookup, targets ...any) []error {
	var errs []error
	for _, target := range targets {
		v := reflect.ValueOf(target).Elem()
		for i := range v.NumField() {
			if err := readField(lookup, v.Type().Field(i), v.Field(i)); err != nil {
				errs = append(errs, err)
			}
		}
		if val, ok := reflect.TypeAssert[Validator](v); ok {
			// What could not be read still holds its default.
			errs = append(errs, val.Validate()...)
		}
	}
	return errs
}

func readField(lookup Lookup, f reflect.StructField, v reflect.Value) error {
	if name, ok := f.Tag.Lookup("fileof"); ok {
		if file, ok := lookup(name + "_FILE"); ok {
			v.SetString(file)
		}
		return nil
	}
	name, ok := f.Tag.Lookup("env")
	if !ok {
		return nil
	}
	value, set, err := find(lookup, name, isSecret(f.Type))
	if err != nil || !set || value == "" {
		return err
	}
	if err := parse(v, value); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func isSecret(t reflect.Type) bool { return t == reflect.TypeFor[mail.Secret]() }

// find reads KEY, or for a secret the file that KEY_FILE names.
func find(lookup Lookup, name string, secret bool) (string, bool, error) {
	value, set := lookup(name)
	if !secret {
		return value, set, nil
	}
	file, fromFile := lookup(name + "_FILE")
	if !fromFile || file == "" {
		return value, set, nil
	}
	if set && value != "" {
		return "", false, fmt.Errorf("%s, %s_FILE: set one of them, not both", name, name)
	}
	content, err := reread.File{Setting: name + "_FILE", Paths: []string{file}, Check: reread.IsSecret}.Read()
	return reread.Secret(content), err == nil, err
}
