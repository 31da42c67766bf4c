package app

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
)

// newSeed makes an nkey.
func newSeed(t *testing.T) (seed, public string) {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	b, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if public, err = key.PublicKey(); err != nil {
		t.Fatal(err)
	}
	return string(b), public
}

// TestReread: the worker logs in with a new key, and says so; with a broken one, and with
// one that the broker refuses, it keeps its connection and says what is wrong.
func TestReread(t *testing.T) {
	t.Parallel()
	firstSeed, first := newSeed(t)
	secondSeed, second := newSeed(t)
	foreignSeed, _ := newSeed(t)
	url := natstest.StartServer(t, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: first}, {Nkey: second}} })
	dir := t.TempDir()
	hold := func(name, content string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var out output
	w := New(settingsFor(t, "NATS_URL="+url, "NATS_NKEY="+hold("key", firstSeed), "SMTP_USERNAME=joe", "SMTP_PASSWORD_FILE="+hold("password", "s3cret-one"),
		"SMTP_URL=smtp://"+freeport.Addr()), &out, &out)
	ended := make(chan error, 1)
	w.Reread() // before it has started
	go func() { ended <- w.Run(t.Context()) }()
	user := func() string {
		m, err := w.conn.NC().Request("$SYS.REQ.USER.INFO", nil, 5*time.Second)
		if err != nil {
			return err.Error()
		}
		var r struct {
			Data struct{ User string } `json:"data"`
		}
		if err := json.Unmarshal(m.Data, &r); err != nil {
			t.Error(err)
		}
		return r.Data.User
	}
	const all = `"read":"SMTP_PASSWORD_FILE, NATS_NKEY"`
	for i, c := range []struct {
		change     func()
		says       []string
		user       string
		reconnects uint64
	}{
		{func() {}, []string{all, `"changed":"none"`}, first, 0},
		{func() { hold("password", "s3cret-two"); w.Reread() }, []string{all, `"changed":"SMTP_PASSWORD_FILE"`}, first, 0},
		{func() { hold("key", "s3cret-key"); w.Reread() }, []string{`"WARN"`, `"read":"SMTP_PASSWORD_FILE","changed":"none"`, "NATS_NKEY: ", "does not hold the seed"}, first, 0},
		{func() { hold("key", foreignSeed); w.Reread() }, []string{`"WARN"`, all, `"changed":"NATS_NKEY"`, "it refuses the credentials of NATS_NKEY"}, first, 0},
		{func() { hold("key", secondSeed); w.Reread() }, []string{all, `"changed":"NATS_NKEY"`}, second, 1},
		{w.Reread, []string{all, `"changed":"none"`}, second, 1},
	} {
		c.change()
		const about = `"msg":"files were read again`
		testrun.Eventually(t, "it says what it read", 30*time.Second, func() bool { return strings.Count(out.String(), about) == i+1 }, out.String)
		line := ""
		for l := range strings.Lines(out.String()) {
			if strings.Contains(l, about) {
				line = l
			}
		}
		for _, want := range c.says {
			if !strings.Contains(line, want) {
				t.Errorf("%d: %s does not say %s", i, line, want)
			}
		}
		testrun.Eventually(t, "it is connected as "+c.user, 30*time.Second, func() bool { return user() == c.user }, out.String)
		if n := w.conn.NC().Stats().Reconnects; n != c.reconnects {
			t.Errorf("%d: connected again %d times, want %d", i, n, c.reconnects)
		}
	}
	w.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, secret := range []string{"s3cret", firstSeed, secondSeed, foreignSeed} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("tells a secret:\n%s", out.String())
		}
	}
}

// TestWarnsOnceAMinute: the same mistake is not logged for each of many signals, another
// one is.
func TestWarnsOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &files{}
		wrong := func(words string) look { return look{wrong: []error{errors.New(words)}} }
		for i, c := range []struct {
			after time.Duration
			look  look
			want  bool
		}{
			{0, wrong("is empty"), true},
			{time.Second, wrong("is empty"), false},
			{time.Second, wrong("holds a NUL"), true},
			{time.Second, look{}, true},
			{time.Second, look{}, true},
			{time.Second, wrong("holds a NUL"), true},
			{59 * time.Second, wrong("holds a NUL"), false},
			{time.Second, wrong("holds a NUL"), true},
		} {
			time.Sleep(c.after)
			if got := f.news(c.look); got != c.want {
				t.Errorf("%d: %v", i, got)
			}
		}
	})
}
