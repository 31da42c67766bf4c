package env

import (
	"testing"
	"time"
)

func TestList(t *testing.T) {
	t.Parallel()
	s := settings{Name: "nats://u:p@h", Number: 7, Wait: time.Hour, Pass: "s3cret"}
	vars := map[string]string{"T_NAME": "x", "T_PASS_FILE": "/run/pass", "T_NUMBER": ""}
	got := List(func(k string) (string, bool) { v, ok := vars[k]; return v, ok }, &s)
	want := []Setting{
		{Name: "T_NAME", Value: "nats://REDACTED@h", Source: "environment"},
		{Name: "T_NUMBER", Value: "7", Source: "default"},
		{Name: "T_WAIT", Value: "1h", Source: "default"},
		{Name: "T_PASS", Value: "REDACTED", Source: "file /run/pass", Secret: true},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%+v, want %+v", got[i], want[i])
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"nats://h:4222": "nats://h:4222", "nats://token@h": "nats://REDACTED@h", "u:p@h": "REDACTED@h",
		"nats://a:x@h1,nats://b:y@h2": "nats://REDACTED@h2", "nats://u:p/@,@h": "nats://REDACTED@h",
		"smtp://h?password=p": "smtp://h?REDACTED", "smtp://u:p@h?tls=none": "smtp://REDACTED@h?tls=none", "smtp://u:p": "smtp://REDACTED",
		"smtp://[::1]:25?tls=none": "smtp://[::1]:25?tls=none", "nats://h1:1,nats://h2:2": "nats://h1:1,nats://h2:2",
	} {
		if got := withoutPassword(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestShown: of what is no URL or address nothing is printed that may be a secret.
func TestShown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ shape, in, want string }{
		{"hosts", "u:SECRET", "REDACTED"}, {"hosts", "nats://h/#SECRET", "nats://REDACTED"}, {"hosts", "nats://h:4222/SECRET", "nats://REDACTED"},
		{"hosts", "h1:1, h2:2", "h1:1, h2:2"}, {"hosts", "localhost", "localhost"}, {"hosts", "nats://h1:1,u:SECRET", "nats://REDACTED"}, {"hosts", "", ""},
		{"hosts", "nats://u:SECRET@h", "nats://REDACTED@h"}, {"hosts", "tls://[::1]:4222", "tls://[::1]:4222"},
		{"url", "SECRET", "REDACTED"}, {"url", "smtp://h/SECRET", "smtp://REDACTED"}, {"url", "smtp://h?SECRET", "smtp://h?REDACTED"}, {"url", "", ""},
		{"url", "smtp://h:587?tls=none", "smtp://h:587?tls=none"}, {"url", "smtp://h?tls=SECRET", "smtp://REDACTED"}, {"url", "smtp://u:SECRET", "smtp://REDACTED"},
		{"address", "u:SECRET@h:80", "REDACTED"}, {"address", "u:SECRET", "REDACTED"}, {"address", ":8026", ":8026"}, {"address", "[::1]:0", "[::1]:0"},
		{"", "any thing/#?", "any thing/#?"},
	} {
		if got := shown(c.shape, c.in); got != c.want {
			t.Errorf("%s %s: %s, want %s", c.shape, c.in, got, c.want)
		}
	}
}
