package smtp

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
)

// wantProblem wants exactly one problem, which begins so.
func wantProblem(t *testing.T, c Config, begins string) {
	t.Helper()
	errs := c.Validate()
	if len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), begins) {
		t.Errorf("problems %v, want one that begins with %q", errs, begins)
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if errs := testConfig("smtp://relay.test").Validate(); len(errs) > 0 {
		t.Errorf("the defaults: %v", errs)
	}
	// A worker may have a relay of its own; New needs a URL.
	none := testConfig("")
	if errs := none.Validate(); len(errs) > 0 {
		t.Errorf("without a URL: %v", errs)
	}
	if _, err := New(none, nil, nil); err == nil || !strings.Contains(err.Error(), "SMTP_URL: is empty") {
		t.Errorf("New without a URL: %v", err)
	}
	for begins, change := range map[string]func(*Config){
		"SMTP_URL: holds a user":               func(c *Config) { c.URL = "smtp://a:b@relay.test" },
		"SMTP_URL: has scheme":                 func(c *Config) { c.URL = "http://relay.test" },
		"SMTP_URL: ?tls=none would":            func(c *Config) { c.URL += "?tls=none"; c.Username, c.Password = "u", "p" },
		"SMTP_PASSWORD: is set without":        func(c *Config) { c.Password = "p" },
		"SMTP_URL: is not set, but SMTP_USERN": func(c *Config) { c.URL, c.Username, c.Password = "", "u", "p" },
		"SMTP_USERNAME: is set without":        func(c *Config) { c.Username = "u" },
		"SMTP_USERNAME, SMTP_PASSWORD: hold":   func(c *Config) { c.Username, c.Password = "u", "p\x00q" },
		"SMTP_AUTH: is \"cram-md5\", must":     func(c *Config) { c.Auth = "cram-md5" },
		"SMTP_EHLO_NAME: ":                     func(c *Config) { c.EHLOName = "a b" },
		"SMTP_EIGHTBIT: \"":                    func(c *Config) { c.EightBit = "" },
		"SMTP_EIGHTBIT: \"convert\"":           func(c *Config) { c.EightBit = "convert" },
		"SMTP_MAX_SESSIONS: is 0":              func(c *Config) { c.MaxSessions = 0 },
		"SMTP_MESSAGES_PER_SESSION: is -1":     func(c *Config) { c.MessagesPerSession = -1 },
		"SMTP_PAUSE_MAX: is 1s, less":          func(c *Config) { c.PauseMax = time.Second },
		"SMTP_SESSION_AGE: is 0s":              func(c *Config) { c.SessionAge = 0 },
		"SMTP_SESSION_IDLE: is 0s":             func(c *Config) { c.SessionIdle = 0 },
		"SMTP_PAUSE_MIN: is -1s":               func(c *Config) { c.PauseMin = -time.Second },
		"SMTP_TIMEOUT_CONNECT: is 0s, must":    func(c *Config) { c.Timeouts.Connect = 0 },
		"SMTP_TIMEOUT_COMMAND: is 0s, must":    func(c *Config) { c.Timeouts.Command = 0 },
		"SMTP_TIMEOUT_DATA: is 0s, must":       func(c *Config) { c.Timeouts.Data = 0 },
		"SMTP_TIMEOUT_DOT: is 0s, must be pos": func(c *Config) { c.Timeouts.Dot = 0 },
	} {
		c := testConfig("smtp://relay.test")
		change(&c)
		wantProblem(t, c, begins)
		if _, err := New(c, nil, nil); err == nil || !strings.Contains(err.Error(), begins) {
			t.Errorf("New: %v", err)
		}
	}
}

// TestTags: each setting names its variable and has a help text, and each duration
// is validated. What is no setting of its own is the file of a secret that is one.
func TestTags(t *testing.T) {
	t.Parallel()
	name := regexp.MustCompile(`^SMTP_[A-Z_]+$`)
	c := DefaultConfig()
	checked := c.durations()
	for _, typ := range []reflect.Type{reflect.TypeFor[Config](), reflect.TypeFor[Timeouts]()} {
		for f := range typ.Fields() {
			if f.Type == reflect.TypeFor[Timeouts]() || f.Name == "Rules" || f.Tag.Get("fileof") != "" {
				continue
			}
			if secret, ok := f.Tag.Lookup("fileof"); ok {
				if !slices.ContainsFunc(slices.Collect(typ.Fields()), func(s reflect.StructField) bool {
					return s.Tag.Get("env") == secret && s.Type == reflect.TypeFor[mail.Secret]()
				}) {
					t.Errorf("%s: there is no secret %s", f.Name, secret)
				}
				continue
			}
			env, help := f.Tag.Get("env"), f.Tag.Get("help")
			if !name.MatchString(env) || !strings.HasSuffix(help, ".") {
				t.Errorf("%s: env %q, help %q", f.Name, env, help)
			}
			if _, ok := checked[env]; !ok && f.Type == reflect.TypeFor[time.Duration]() {
				t.Errorf("%s is not validated", env)
			}
		}
	}
}

func TestParseURL(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]target{
		"smtp://h":                    {"h", "587", tlsRequired, "h"},
		"smtp://h:25/":                {"h", "25", tlsRequired, "h"},
		"smtps://h":                   {"h", "465", tlsImplicit, "h"},
		"smtps://h:1465?tls=required": {"h", "1465", tlsImplicit, "h"},
		"smtp://h?tls=none":           {"h", "587", tlsNone, "h"},
		"smtp://h?tls=opportunistic":  {"h", "587", tlsOpportunistic, "h"},
		"smtp://h?tls=required":       {"h", "587", tlsRequired, "h"},
		"smtp://h?servername=mail.x.test&tls=opportunistic": {"h", "587", tlsOpportunistic, "mail.x.test"},
		"smtps://192.0.2.1?servername=mail.x.test":          {"192.0.2.1", "465", tlsImplicit, "mail.x.test"},
		"smtp://[::1]:25": {"::1", "25", tlsRequired, "::1"},
	} {
		if got, err := parseURL(in); err != nil || got != want {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
	if got := (target{"::1", "25", tlsNone, "::1"}).addr(); got != "[::1]:25" {
		t.Errorf("address %s", got)
	}
	for _, in := range []string{
		"", "h:587", "smtp:", "smtp://", "smtp://:25", "smtp://u@h", "smtp://h/x", "smtp://h#x", "smtp://h:0", "smtp://h:99999", "smtp://h:x",
		"smtp://h?tls=maybe", "smtp://h?tls=none&tls=required", "smtp://h?x=y", "smtp://h?servername=", "smtp://h?servername=a b", "smtp://h?servername=a&servername=b", "smtp://h?tls=%", "smtps://h?tls=none", "imap://h", "smtp:h", "\x7f",
	} {
		if got, err := parseURL(in); err == nil {
			t.Errorf("%q was read as %+v", in, got)
		}
	}
}

// TestPasswordFile: a file that cannot be read is one problem, and its reader has said it.
func TestPasswordFile(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{"": "[SMTP_USERNAME: is set without SMTP_PASSWORD]", "password": "[]"} {
		c := testConfig("smtp://relay.test")
		c.Username, c.Password, c.PasswordFile = "ann", "", file
		if got := fmt.Sprint(c.Validate()); got != want {
			t.Errorf("%q: %s, want %s", file, got, want)
		}
	}
}
