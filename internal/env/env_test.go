package env

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
)

type settings struct {
	Name   string        `env:"T_NAME"`
	Number int           `env:"T_NUMBER"`
	Wait   time.Duration `env:"T_WAIT"`
	Pass   mail.Secret   `env:"T_PASS"`
	// PassFile is where Pass was read from.
	PassFile string `fileof:"T_PASS"`
	Other    string
}

func (s settings) Validate() []error {
	if s.Number > 100 {
		return []error{errors.New("T_NUMBER: too large")}
	}
	return nil
}

func read(vars map[string]string, s *settings) []error {
	return Read(func(k string) (string, bool) { v, ok := vars[k]; return v, ok }, s)
}

func TestRead(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pass")
	if err := os.WriteFile(file, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{Name: "default", Number: 7, Other: "kept"}
	errs := read(map[string]string{"T_NAME": "", "T_WAIT": "5s", "T_PASS_FILE": file}, &s)
	if len(errs) > 0 || s != (settings{Name: "default", Number: 7, Wait: 5 * time.Second, Pass: "s3cret", PassFile: file, Other: "kept"}) {
		t.Errorf("%#v, errors %v", s, errs)
	}
}

func TestReadReportsAllAtOnceByVariable(t *testing.T) {
	t.Parallel()
	var s settings
	errs := read(map[string]string{"T_NUMBER": "x", "T_WAIT": "soon", "T_PASS": "a", "T_PASS_FILE": "/b"}, &s)
	all := errors.Join(errs...).Error()
	if len(errs) != 3 {
		t.Fatalf("%d errors: %s", len(errs), all)
	}
	for _, want := range []string{"T_NUMBER: ", "T_WAIT: ", "T_PASS, T_PASS_FILE: "} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in: %s", want, all)
		}
	}
	if strings.Contains(all, "Number:") {
		t.Errorf("names a Go field: %s", all)
	}
	if errs := read(map[string]string{"T_NUMBER": "101"}, &s); len(errs) != 1 {
		t.Errorf("the rules of its own: %v", errs)
	}
}

// TestSecretFiles: a secret is one line of a file. What is wrong with it is said, and not
// what it holds.
func TestSecretFiles(t *testing.T) {
	t.Parallel()
	for content, want := range map[string]string{"s3cret\r\n": "", "": "is empty", "s3cret\nmore\n": "has several lines, must have one", "s3cret\x00": "holds a NUL"} {
		path := filepath.Join(t.TempDir(), "secret")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		var s settings
		errs := read(map[string]string{"T_PASS_FILE": path}, &s)
		switch {
		case want == "" && (len(errs) > 0 || s.Pass != "s3cret"):
			t.Errorf("%q: %v", content, errs)
		case want != "" && (len(errs) != 1 || errs[0].Error() != "T_PASS_FILE: "+path+": "+want || s.Pass != ""):
			t.Errorf("%q: %v", content, errs)
		}
	}
}
