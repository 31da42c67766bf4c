package e2e

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// mute is a relay that gives no reply to a final dot: to the first of each
// sender, or of "always@example.com" to any. The sender says in which way.
type mute struct {
	mu   sync.Mutex
	dots map[string][][]byte
}

func (m *mute) script(st smtptest.Step) *smtptest.Answer {
	if st.Verb != "DOT" {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dots[st.From] = append(m.dots[st.From], bytes.Clone(st.Data))
	way, _, _ := strings.Cut(st.From, "@")
	a, ok := smtptest.NoReply(smtptest.Yes("DOT"))[strings.ToUpper(way)]
	switch {
	case way == "always":
		return &smtptest.Answer{HangUp: true}
	case !ok || len(m.dots[st.From]) > 1:
		return nil
	}
	return &a
}

// sent is what came to its dot from a sender.
func (m *mute) sent(from string) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.dots[from])
}

// TestUncertain: a mail whose final dot gets no reply is sent again, the same
// message under the same Message-ID, and everything that an operator can ask
// says that it may have come twice.
func TestUncertain(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			m := &mute{dots: map[string][][]byte{}}
			relay := smtptest.New(t, smtptest.ByAddress(), smtptest.Scripted(m.script))
			w := newWorld(t, "POSTRIDER_RETRY_AFTER=300ms", "SMTP_TIMEOUT_DOT=3s", "SMTP_URL="+relay.URL())
			w.set("POSTRIDER_LOG_FORMAT", format)
			p := w.worker("worker")
			w.uncertain(m, p, map[string]string{
				"text": `^\S+ uncertain  %s to ann@example.net, next attempt at .*: it may have taken the message: `,
				"json": `"msg":"uncertain","id":"%s".*"outcome":"uncertain","stage":"dot",.*"reply":"it may have taken the message: `,
			}[format])
		})
	}
}

func (w *world) uncertain(m *mute, p *storm.Process, line string) {
	w.t.Helper()
	nc, err := nats.Connect("nats://" + w.get("NATS_LISTEN"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	ways := []string{"hangup", "reset", "silence", "garbage", "half-hangup", "half-silence", "flood", "drip"}
	for _, id := range append(ways, "always") {
		body := fmt.Sprintf(`{"id":%q,"from":"%s@example.com","to":["ann@example.net"],"text":"hi","max_attempts":3}`, id, id)
		if _, err := nc.Request("mail.send.normal", []byte(body), 10*time.Second); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, id := range append(ways, "always") {
		w.await(p.Out, fmt.Sprintf(line, id), 30*time.Second)
	}
	for _, id := range ways {
		w.shown(id, `attempt 1: .*\n +ann@example.net  uncertain at DOT: it may have taken the message: .*\n`+
			`(.*\n)*.*attempt 2: .*\n +ann@example.net  delivered at DOT: 250 .*\n(.*\n)*Now\n.*\n +delivered: `)
		w.wantCopies(id, m.sent(id+"@example.com"), 2)
	}
	// One whose relay never answers has its budget, as what is deferred has.
	w.shown("always", `Now\n.*\n +dead, exhausted: [^;]* the last one is uncertain: it may have taken the message: .*postrider dead replay always`)
	w.wantCopies("always", m.sent("always@example.com"), 3)
	if out, _, _ := w.run("postrider", "events", "--event", "uncertain"); strings.Count(out, "uncertain  normal") != len(ways)+2 {
		w.t.Errorf("postrider events --event uncertain:\n%s", out)
	}
	if got := w.metric(w.adminOf(p), `postrider_recipient_outcomes_total{outcome="uncertain"`); int(got) != len(ways)+3 {
		w.t.Errorf("%v counted as uncertain, want %d", got, len(ways)+3)
	}
}

// shown waits until postrider show says that.
func (w *world) shown(id, pattern string) {
	w.t.Helper()
	re := regexp.MustCompile(pattern)
	var out string
	defer func() {
		if w.t.Failed() {
			w.t.Logf("postrider show %s:\n%s", id, out)
		}
	}()
	testrun.Eventually(w.t, "postrider show "+id+" says how it ended", 30*time.Second, func() bool {
		out, _, _ = w.run("postrider", "show", id)
		return re.MatchString(out)
	})
}

var messageID = regexp.MustCompile(`(?m)^Message-ID: <\S+>\r$`)

func (w *world) wantCopies(id string, copies [][]byte, n int) {
	w.t.Helper()
	if len(copies) != n {
		w.t.Fatalf("%s came to its dot %d times, want %d", id, len(copies), n)
	}
	for _, c := range copies {
		if !bytes.Equal(c, copies[0]) || !messageID.Match(c) {
			w.t.Errorf("%s was sent as\n%s\nand as\n%s", id, copies[0], c)
		}
	}
}
