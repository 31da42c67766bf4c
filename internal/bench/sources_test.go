package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/doctor"
	"github.com/postrider/postrider/internal/bench"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

// TestAllSources: mail that waits in any stream of a lane is counted, found by its id,
// judged and sent, and goes through the stream of copies if it is deferred.
func TestAllSources(t *testing.T) {
	t.Parallel()
	b := bench.New(t)
	js := b.Conn.JS()
	var ids []string
	var reserved int64
	for _, s := range bench.Lane.Sources() {
		if !s.Fresh {
			continue
		}
		t.Log("fresh mail in", s.Stream)
		reserved += natstest.ConfigOf(t, js, s.Stream).MaxBytes
		for _, subject := range s.Subjects {
			id := fmt.Sprintf("m%d", len(ids))
			ack, err := js.Publish(t.Context(), strings.ReplaceAll(subject, "*", "acme"),
				fmt.Appendf(nil, `{"id":%q,"from":"a@example.com","to":["%s"],"text":"hi"}`, id, deferredOnce(id)), jetstream.WithMsgID(id))
			if err != nil || ack.Stream != s.Stream {
				t.Fatalf("%s is taken by %+v, want %s: %v", subject, ack, s.Stream, err)
			}
			ids = append(ids, id)
		}
	}
	if _, limit, err := b.Conn.Room(t.Context()); err != nil || uint64(reserved) > limit/100*60 {
		t.Errorf("%d of %d bytes are reserved for fresh mail: %v", reserved, limit, err)
	}
	q := queue.New(js, b.Store, b.Conn.Now, b.Conn.Room)
	p := &doctor.Patient{Conn: b.Conn, Broker: b.Broker.Config, Queue: q, Lanes: []wire.Lane{"other"}}
	counts(t, q, uint64(len(ids)))
	says(t, p, doctor.Warning, "lanes", fmt.Sprintf("has %d messages and is not among", len(ids)))
	for _, id := range ids {
		if found, err := q.Traces(t.Context(), id, nil); err != nil || len(found.Messages) != 1 {
			t.Errorf("%s while it waits: %+v, %v", id, found, err)
		}
	}
	b.Work(nil)
	b.Settled()
	for _, id := range ids {
		b.Accepted(id, map[string]int{deferredOnce(id): 1})
		if told := b.Relay.Told(id + " " + deferredOnce(id)); len(told) != 2 {
			t.Errorf("%s was told %v", id, told)
		}
	}
	counts(t, q, 0)
	p.Lanes = []wire.Lane{bench.Lane}
	for _, check := range []string{"room", "streams", "consumers", "mail", "stranded", "schedules"} {
		says(t, p, doctor.OK, check, "")
	}
}

// deferredOnce is the recipient of that mail.
func deferredOnce(id string) string { return "451x1@" + id + ".example.net" }

func counts(t *testing.T, q *queue.Queue, waiting uint64) {
	t.Helper()
	s, err := q.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Lanes) != 1 || s.Lanes[0].Waiting != waiting || s.Lanes[0].Ready() != waiting || s.Lanes[0].Oldest.IsZero() != (waiting == 0) {
		t.Errorf("%+v, want %d waiting", s.Lanes, waiting)
	}
}

// says checks that all findings of a check are of that level, and that one says so.
func says(t *testing.T, p *doctor.Patient, level doctor.Level, check, words string) {
	t.Helper()
	all, err := doctor.Examine(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	said := false
	for _, f := range all {
		if f.Check == check {
			said = said || strings.Contains(f.Found, words)
			if f.Level != level {
				t.Errorf("want %s of %s: %+v", level, check, f)
			}
		}
	}
	if !said {
		t.Errorf("nothing of %s says %q: %+v", check, words, all)
	}
}

// TestTwoFreshStreams proves that the streams of a lane are a list and nothing else
// knows them: with tenants' mail in a stream of its own the same test holds.
func TestTwoFreshStreams(t *testing.T) {
	t.Parallel()
	file, err := filepath.Abs("../../wire/lane.go")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	two := strings.Replace(string(source), "{{l.SendSubject(), l.TenantSubjects()}}", "{{l.SendSubject()}, {l.TenantSubjects()}}", 1)
	if two == string(source) {
		t.Fatalf("%s has another list of streams than this test knows", file)
	}
	changed, overlay := filepath.Join(t.TempDir(), "lane.go"), filepath.Join(t.TempDir(), "overlay.json")
	for name, text := range map[string]string{changed: two, overlay: fmt.Sprintf(`{"Replace": {%q: %q}}`, file, changed)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-overlay="+overlay, "-v", "-run=^TestAllSources$", ".").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "fresh mail in MAIL_SEND_NORMAL_2") {
		t.Errorf("%v\n%s", err, out)
	}
}
