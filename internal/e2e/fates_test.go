package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/testrun"
)

// TestFates: ten mails with ten fates, each of whose way an operator can tell
// from postrider show alone.
func TestFates(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "POSTRIDER_RETRY_AFTER=300ms,1h")
	p := w.worker("worker")
	nc, err := nats.Connect("nats://" + w.get("NATS_LISTEN"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	publish := func(id, to, more string) {
		t.Helper()
		body := fmt.Sprintf(`{"id":%q,"from":"app@example.com","to":[%q],"subject":"Hello","text":"hi"%s}`, id, to, more)
		if _, err := nc.Request("mail.send.normal", []byte(body), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	publish("delivered", "ann@example.net", "")
	publish("waits", "451@example.net", "")
	publish("later", "ann@example.net", `,"send_at":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"`)
	publish("refused", "550@example.net", "")
	publish("exhausted", "452@example.net", `,"max_attempts":1`)
	// Refused twice, and the third attempt would be after its end.
	publish("expired", "453@example.net", `,"expires_at":"`+time.Now().Add(time.Minute).UTC().Format(time.RFC3339Nano)+`","max_attempts":9`)
	publish("bad", "ann@example.net", `,"sbuject":"x"`)
	publish("again", "455@example.net", `,"max_attempts":1`)
	publish("thrown away", "551@example.net", "")
	publish("mixed", "ann@example.net", `,"cc":["552@example.net","452@example.org"]`)
	for _, line := range []string{
		"delivered  delivered", "deferred   waits(?s:.*)deferred   waits", "scheduled  later", "dead       refused", "dead       exhausted",
		"dead       again", "dead       thrown away", "dead       mixed", "deferred   mixed to 452(?s:.*)deferred   mixed to 452", "dead       bad to ann@example.net, bad-envelope: sbuject",
	} {
		w.await(p.Out, `^\S+ `+line, 30*time.Second)
	}
	if out, stderr, status := w.run("postrider", "dead", "replay", "bad"); status == 0 || !strings.Contains(out+stderr, "correct it and publish it again") {
		t.Errorf("replay of a bad envelope: status %d\n%s%s", status, out, stderr)
	}
	if out, stderr, status := w.run("postrider", "dead", "discard", "thrown away"); status != 0 {
		t.Fatal(out, stderr)
	}
	for range 2 { // its budget is one attempt, and its address is refused twice
		if out, stderr, status := w.run("postrider", "dead", "replay", "again"); status != 0 {
			t.Fatal(out, stderr)
		}
		w.await(p.Out, `^\S+ (dead       again(?s:.*)dead       again|delivered  again)`, 30*time.Second)
	}
	w.await(p.Out, `^\S+ delivered  again`, 30*time.Second)
	for id, want := range map[string]string{
		"delivered":   `attempt 1: relay .*\n.*ann@example.net  delivered at DOT: 250 2.0.0 queued as .*\nNow\n  ann@example.net\n      delivered: accepted by the relay`,
		"normal/1":    `message  delivered\n`,
		"waits":       `attempt 2: .*\n.*deferred at DOT: 451 4.3.0 .*\n.*\nNow\n  451@example.net\n      deferred: 451 .*; next attempt at .* \(in [\dhms]+\)`,
		"later":       `scheduled for .*, its send_at\nNow\n.*\n      scheduled; next attempt at .* \(in (1h|59m)`,
		"refused":     `attempt 1: .*\n.*failed at RCPT: 550 5.1.1 .*\n.*\nNow\n.*\n      dead, refused for good: 550 5.1.1 .*; send it again: postrider dead replay refused`,
		"exhausted":   `attempt 1: .*\n.*deferred at DOT: 452 .*\n.*exhausted: dead-lettered\nNow\n.*\n      dead, exhausted: .*452 4.2.2`,
		"expired":     `expired: dead-lettered\nNow\n.*\n      dead, expired: .*453`,
		"bad":         `failed: dead-lettered: sbuject: unknown field\nNow\n  ann@example.net\n      dead, bad-envelope: sbuject: unknown field; .*postrider dead show bad --body`,
		"again":       `exhausted: dead-lettered.*\n.*replay 1 by an operator: .*\n.*attempt 1: (.*\n)+.*replay 2 by an operator: .*\n.*attempt 1: .*\n.*delivered at DOT(.*\n)+Now\n.*\n      delivered: `,
		"thrown away": `failed: dead-lettered\n.*discarded by an operator\nNow\n.*\n      discarded by an operator at `,
		"mixed":       `Now\n  ann@example.net\n      delivered: .*\n  552@example.net\n      dead, refused for good: 552 5.2.2 .*postrider dead replay mixed\n  452@example.org\n      deferred: 452 .*; next attempt at `,
	} {
		out, stderr, status := w.run("postrider", "show", id)
		if status != 0 || !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("postrider show %q (status %d): no match for %s in\n%s%s", id, status, want, out, stderr)
		}
		if strings.Contains(out, "\x1b") {
			t.Error("colours where nobody can see them")
		}
		if out, _, status := w.run("postrider", "show", id, "--json"); status != 0 || strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, `{"id":"`) {
			t.Errorf("as JSON: %s", out)
		}
	}
	w.operate()
	// Without the operator's credential nothing is shown, and it is said why.
	w.set("POSTRIDER_DATA_DIR", w.path("elsewhere"))
	if out, stderr, status := w.run("postrider", "status"); status != 75 || out != "" || !strings.Contains(stderr, "set POSTRIDER_DATA_DIR") {
		t.Errorf("a stranger gets status %d, %s%s", status, out, stderr)
	}
}

// operate tries the other commands on what lies there.
func (w *world) operate() {
	w.t.Helper()
	for _, c := range []struct {
		args   string
		status int
		want   string
	}{
		{"status", 0, `(?s)waiting +due +in flight +scheduled +dead.* normal +0 +0 +0 +3 +5 .*\n\nwarning  dead  MAIL_DEAD: 5 dead letters, .*; 5 within the last hour\n`},
		{"status --json", 0, `"lanes":\[.*"lane":"normal","waiting":0,"due":0,"in_flight":0,"scheduled":3`},
		{"events --event delivered --to ANN@example.net", 0, `delivered  normal  delivered  ann@example.net: 250`},
		{"events refused --json", 0, `^\{"v":1,"id":"refused"`},
		{"events nobody", 1, `^$`},
		{"events --event lost", 64, `^$`},
		{"events --until 10h", 1, `^$`},
		{"dead list --reason failed", 0, `refused\t550@example.net\tfailed\t550`},
		{"dead show refused", 0, `(?s)reason   failed.*attempt 1.*"to":\["550@example.net"\]`},
		{"dead show bad --body", 0, `^\{"id":"bad".*"sbuject":"x"\}$`},
		{"dead show nobody", 1, `^$`},
		{"dead replay --reason failed --dry-run", 0, `would be replayed: refused to 550@example.net`},
		{"dead discard --reason failed --dry-run --json", 0, `"id":"refused","lane":"normal","recipient":"all","event":"discarded","dry_run":true`},
		{"dead discard --reason nonsense", 64, `^$`},
		{"dead discard refused", 0, `^discarded refused to 550@example.net\n$`},
		{"dead discard refused", 1, `^$`},
		{"dead replay refused", 1, `^$`},
		{"show nobody", 1, `^$`},
		{"show", 64, `^$`},
	} {
		out, stderr, status := w.run("postrider", strings.Fields(c.args)...)
		if status != c.status || !regexp.MustCompile(c.want).MatchString(out) || (status == 0) != (stderr == "") {
			w.t.Errorf("postrider %s: status %d, want %d; no match for %s in\n%s%s", c.args, status, c.status, c.want, out, stderr)
		}
	}
}

// TestRelayDownIsTold: the tenth fate, mail that waits for a relay.
func TestRelayDownIsTold(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "SMTP_URL=smtp://127.0.0.1:9?tls=none")
	w.worker("worker")
	if _, stderr, status := w.run("publish", "--from", "a@example.com", "--to", "b@example.net", "--text", "hi", "--id", "m"); status != 0 {
		t.Fatal(stderr)
	}
	const why = `(relay )?127\.0\.0\.1:9:? refused the connection; down since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d[^ ;]*`
	want := regexp.MustCompile(`Now\n  b@example.net\n      waits: .*; ` + why + `.*; (next try in \d+s|it is being tried now), and no attempt is counted`)
	testrun.Eventually(w.t, "show says why it waits", 20*time.Second, func() bool {
		out, _, status := w.run("postrider", "show", "m")
		return status == 0 && want.MatchString(out)
	})
	// Seconds later, and not when a minute has passed.
	out, _, _ := w.run("postrider", "status")
	want = regexp.MustCompile(`normal +[01] +0 +[01] .* - +-\n(?s:.*)\nworkers: 1 \(.*\)\n\nproblem  relay  ` + why + `; 1 message waits, and no attempt is counted\n +do: (next try in \d+s|it is being tried now); start it or set SMTP_URL\n$`)
	if !want.MatchString(out) {
		t.Errorf("status says\n%swant %s", out, want)
	}
	out, _, _ = w.run("postrider", "status", "--json")
	if want := regexp.MustCompile(`"workers":\[\{"v":1,"id":"\w+","host":".*"state":"waiting","lanes":\["urgent","normal","bulk"\],"relay":\{"name":"127.0.0.1:9","state":"down",`); !want.MatchString(out) {
		t.Errorf("status --json says\n%swant %s", out, want)
	}
}
