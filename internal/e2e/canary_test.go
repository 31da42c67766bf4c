package e2e

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/smtptest"
)

// smtpCanary has whatever some form has to escape.
const smtpCanary = `sm7p-c4n"ary/%41é+ \pass`

// parrot is a relay that repeats the password: at AUTH in one form after the
// other until it lets the worker in, and then at the step that the sender names,
// in the form whose number follows it.
type parrot struct {
	forms []string
	auths atomic.Int64
}

func newParrot() *parrot {
	return &parrot{forms: []string{
		smtpCanary, url.QueryEscape(smtpCanary), fmt.Sprintf("%q", smtpCanary), fmt.Sprintf("%x", smtpCanary),
		base64.StdEncoding.EncodeToString([]byte(smtpCanary)),
		base64.StdEncoding.EncodeToString([]byte("\x00app\x00" + smtpCanary)),
		"AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00app\x00"+smtpCanary)),
		base64.RawURLEncoding.EncodeToString([]byte("app:" + smtpCanary)),
	}}
}

// parrotSays are the replies at each step, of which each form makes one. (After a 535
// the password is not said again for 15 minutes: smtp's tests have that one.)
var parrotSays = map[string][]string{
	"AUTH": {"454 4.7.0 later: %s", "what is %s", "334 %s"},
	"MAIL": {"550 5.7.1 not by %s", "450 4.7.1 later, %s", "%s"},
	"RCPT": {"550 5.1.1 not by %s", "451 4.7.1 later, %s"},
	"DATA": {"554 5.7.1 not by %s", "421 4.7.1 %s"},
	"DOT":  {"250 2.0.0 Ok: queued as %s", "554 5.7.1 not by %s", "451 4.7.1 later, %s", "%s"},
}

func (p *parrot) script(st smtptest.Step) *smtptest.Answer {
	says := parrotSays[st.Verb]
	n := 0
	switch st.Verb {
	case "AUTH":
		if n = int(p.auths.Add(1)) - 1; n >= len(says)*len(p.forms) {
			return nil
		}
	default:
		if _, err := fmt.Sscanf(st.From, strings.ToLower(st.Verb)+"-%d@", &n); err != nil {
			return nil
		}
	}
	return &smtptest.Answer{Reply: fmt.Sprintf(says[n/len(p.forms)], p.forms[n%len(p.forms)])}
}

// TestCanaries: a relay repeats the password in many forms wherever it can, and
// neither the password nor a credential of the embedded broker is found in
// anything that leaves the programs.
func TestCanaries(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			parrot, ca := newParrot(), smtptest.NewAuthority(t)
			relay := smtptest.New(t, smtptest.TLS(ca.Certificate("127.0.0.1", time.Hour), false), smtptest.Auth("app", smtpCanary), smtptest.Scripted(parrot.script))
			file := filepath.Join(t.TempDir(), "password")
			if err := os.WriteFile(file, []byte(smtpCanary+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, "SMTP_URL="+relay.URL(), "SMTP_CA_FILE="+ca.File(), "SMTP_USERNAME=app", "SMTP_PASSWORD_FILE="+file,
				"POSTRIDER_LOG_LEVEL=debug", "POSTRIDER_RETRY_AFTER=100ms", "POSTRIDER_MAX_ATTEMPTS=2", "SMTP_PAUSE_MIN=20ms", "SMTP_PAUSE_MAX=40ms", "GOTRACEBACK=all")
			w.set("POSTRIDER_LOG_FORMAT", format)
			w.canaries(parrot)
		})
	}
}

func (w *world) canaries(parrot *parrot) {
	t := w.t
	t.Helper()
	h := newHunt(w)
	p := w.worker("worker")
	nc, err := nats.Connect("nats://" + w.get("NATS_LISTEN"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	var ids []string
	for step, says := range parrotSays {
		for n := range len(says) * len(parrot.forms) {
			if step != "AUTH" {
				ids = append(ids, fmt.Sprintf("%s-%d", strings.ToLower(step), n))
			}
		}
	}
	for _, id := range ids {
		body := fmt.Sprintf(`{"id":%q,"from":"%s@example.com","to":["ann@example.net"],"text":"hi","expires_at":%q}`,
			id, id, time.Now().Add(20*time.Second).UTC().Format(time.RFC3339))
		if _, err := nc.Request("mail.send.normal", []byte(body), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	// All ends: delivered, refused, out of attempts, or out of time if the
	// relay never made sense.
	for _, id := range ids {
		w.shown(id, `(?s)Now\n.*(delivered: |dead, )`)
	}
	if n := int(parrot.auths.Load()); n <= len(parrotSays["AUTH"])*len(parrot.forms) {
		t.Fatalf("AUTH came %d times only", n)
	}
	h.pages(w.adminOf(p))
	h.embeddedStreams()
	for _, args := range []string{"status", "status --json", "events", "events --json", "dead list", "dead list --json"} {
		h.run("postrider", strings.Fields(args)...)
	}
	for _, id := range []string{"mail-0", "rcpt-2", "dot-1", "dot-10"} {
		h.run("postrider", "show", id)
		h.run("postrider", "show", id, "--json")
		h.run("postrider", "dead", "show", id)
	}
	h.run("publish", "--from", "app@example.com", "--to", "ann@example.net", "--text", "hi")
	h.run("worker", "config")
	h.run("worker", "config", "--format", "json")
	// What a panic would print: the stacks of all goroutines.
	if err := p.End(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	h.files()
	secrets := map[string]string{"the SMTP password": smtpCanary}
	for _, name := range []string{"operator.nk", "producer.nk"} {
		b, err := os.ReadFile(w.path("data/" + name))
		if err != nil {
			t.Fatal(err)
		}
		secrets[name] = strings.TrimSpace(string(b))
	}
	h.wantNone(secrets)
	h.wantIn("dot-1", "postrider events", "postrider events --json", "postrider dead show dot-10", "MAIL_RECORD", "MAIL_EVENT", "/worker.out")
	h.wantIn("withheld", "postrider dead list", "postrider show mail-0", "MAIL_DEAD")
	h.wantIn("goroutine ", "/worker.err")
	h.wantIn("outcomes_total", "/metrics")
	h.wantIn("REDACTED", "worker config")
}

// TestCanariesOfBrokers: what proves us to a NATS server is found in nothing
// either, whether the server takes it or not.
func TestCanariesOfBrokers(t *testing.T) {
	t.Parallel()
	const password = `n4ts-c4n"ary/%41é+pass`
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(keyFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env    []string
		change func(*server.Options)
		option nats.Option
		secret string
	}{
		"password": {
			[]string{"NATS_USER=app", "NATS_PASSWORD=" + password},
			func(o *server.Options) { o.Username, o.Password = "app", password }, nats.UserInfo("app", password), password,
		},
		"token": {
			[]string{"NATS_TOKEN=" + password}, func(o *server.Options) { o.Authorization = password }, nats.Token(password), password,
		},
		"URL": {
			[]string{"NATS_URL=nats://app:n4ts-url-canary@%s"},
			func(o *server.Options) { o.Username, o.Password = "app", "n4ts-url-canary" }, nats.UserInfo("app", "n4ts-url-canary"), "n4ts-url-canary",
		},
		"nkey": {
			[]string{"NATS_NKEY=" + keyFile}, func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			nats.Nkey(public, user.Sign), string(seed),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relay := smtptest.New(t)
			url := natstest.StartServer(t, c.change)
			addr := strings.TrimPrefix(url, "nats://")
			w := newWorld(t, "NATS_URL="+url, "SMTP_URL="+relay.URL(), "POSTRIDER_LOG_LEVEL=debug", "GOTRACEBACK=all")
			for _, v := range c.env {
				name, value, _ := strings.Cut(strings.Replace(v, "%s", addr, 1), "=")
				w.set(name, value)
			}
			h := newHunt(w)
			p := w.start("worker", "worker")
			admin := w.adminOf(p)
			h.run("publish", "--from", "app@example.com", "--to", "ann@example.net", "--text", "hi", "--id", "m1")
			w.shown("m1", `delivered: `)
			nc, err := nats.Connect(url, c.option)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			js, err := jetstream.New(nc)
			if err != nil {
				t.Fatal(err)
			}
			h.pages(admin)
			h.streams(js)
			h.everyCommand()
			if err := p.End(syscall.SIGQUIT); err != nil {
				t.Fatal(err)
			}
			// A server that wants another one.
			other := natstest.StartServer(t, func(o *server.Options) { o.Username, o.Password = "else", "else" })
			w.set("NATS_URL", strings.Replace(w.get("NATS_URL"), addr, strings.TrimPrefix(other, "nats://"), 1))
			h.everyCommand()
			h.serve()
			h.files()
			h.wantNone(map[string]string{"the credential": c.secret})
			h.wantIn("m1", "MAIL_RECORD", "postrider show m1", "/worker.out")
			h.wantIn("goroutine ", "/worker.err")
			h.wantIn("NATS_", "worker", "worker config")
		})
	}
}

// everyCommand runs each once.
func (h *hunt) everyCommand() {
	h.w.t.Helper()
	for _, c := range []string{
		"postrider status", "postrider status --json", "postrider show m1", "postrider show m1 --json", "postrider events", "postrider dead list", "postrider dead show m1",
		"publish --from a@example.com --to b@example.net --text hi", "worker config", "worker config --format json",
	} {
		words := strings.Fields(c)
		h.run(words[0], words[1:]...)
	}
	h.serve("provision")
}

// TestCanariesInSettings: what is wrong with a setting is said without its secret.
func TestCanariesInSettings(t *testing.T) {
	t.Parallel()
	const canary = "s3tt1ng-canary"
	file := filepath.Join(t.TempDir(), "credential")
	if err := os.WriteFile(file, []byte("-----BEGIN NATS USER JWT-----\n"+canary+"\n------END NATS USER JWT------\nSU"+canary+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, env := range []string{
		"NATS_URL=nats://app:" + canary + "@127.0.0.1:9", "NATS_URL=app:" + canary + "@127.0.0.1:9", "NATS_URL=http://app:" + canary + "@127.0.0.1:9",
		"NATS_URL=nats://app:%zz" + canary + "@127.0.0.1:9", "NATS_URL=nats://" + canary + "@127.0.0.1:9,nats://127.0.0.1:9 NATS_USER=x",
		"NATS_PASSWORD=" + canary, "NATS_URL=nats://127.0.0.1:9 NATS_USER=x NATS_PASSWORD=" + canary + " NATS_TOKEN=" + canary,
		"NATS_URL=nats://127.0.0.1:9 NATS_CREDS=" + file, "NATS_URL=nats://127.0.0.1:9 NATS_NKEY=" + file,
		"NATS_URL=tls://127.0.0.1:9 NATS_CERT=" + file + " NATS_KEY=" + file, "NATS_URL=tls://127.0.0.1:9 NATS_CA=" + file,
		"NATS_URL=nats://127.0.0.1:9 NATS_TOKEN=" + canary + " NATS_TOKEN_FILE=" + file,
		"SMTP_PASSWORD=" + canary, "SMTP_PASSWORD=" + canary + " SMTP_PASSWORD_FILE=" + file + " SMTP_USERNAME=x",
		"SMTP_URL=smtp://app:" + canary + "@127.0.0.1:9", "SMTP_URL=smtp:app:" + canary + "@127.0.0.1", "SMTP_URL=smtp://app:%zz" + canary + "@127.0.0.1",
		"SMTP_URL=smtp://127.0.0.1:9?password=" + canary, "SMTP_URL=smtp://app:" + canary, "SMTP_CA_FILE=" + file,
		"NATS_URL=app:" + canary, "NATS_URL=nats://127.0.0.1:9/#" + canary, "SMTP_URL=" + canary, "SMTP_URL=smtp://127.0.0.1:9/" + canary,
		"SMTP_URL=smtp://127.0.0.1:9?tls=" + canary, "SMTP_URL=smtp://127.0.0.1:9?" + canary,
		"POSTRIDER_ADMIN=app:" + canary + "@127.0.0.1:0", "POSTRIDER_ADMIN=app:" + canary, "NATS_LISTEN=app:" + canary,
		"SMTP_URL=smtp://127.0.0.1:9?tls=none SMTP_USERNAME=x SMTP_PASSWORD=" + canary,
	} {
		t.Run(strings.NewReplacer(t.TempDir(), "", canary, "SECRET").Replace(env), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, strings.Fields(env)...)
			h := newHunt(w)
			h.run("worker", "config")
			h.run("worker", "config", "--format", "json")
			h.serve()
			h.serve("provision")
			h.run("postrider", "status")
			h.run("publish", "--from", "a@example.com", "--to", "b@example.net", "--text", "hi")
			h.wantNone(map[string]string{"the canary": canary})
			h.wantIn("78", "worker config")
		})
	}
}
