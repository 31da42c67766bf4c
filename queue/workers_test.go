package queue

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/wire"
)

// crew is what workers say at the time [at]. Each is "host", and then what differs from
// one that runs, was heard of five seconds ago, and takes mail of the lane normal.
func crew(all ...*wire.Worker) *Workers { return workersAt(at, all) }

func up(host string) *wire.Worker {
	return &wire.Worker{
		ID: host, Host: host, Started: at.Add(-time.Hour), At: at.Add(-5 * time.Second), State: wire.WorkerRunning, Lanes: []wire.Lane{"normal"},
		Relay: wire.Relay{Name: "r:25", State: wire.RelayUp},
	}
}

// down is one whose relay is down since so many minutes and is tried again in 20 s.
func down(host string, minutes int) *wire.Worker {
	w := up(host)
	w.State = wire.WorkerWaiting
	w.Relay = wire.Relay{Name: "r:25", State: wire.RelayDown, Since: at.Add(-time.Duration(minutes) * time.Minute), Words: "refused the session: 421 4.3.2 no", Hint: "ask its operator", Next: at.Add(20 * time.Second)}
	return w
}

func with(w *wire.Worker, change func(*wire.Worker)) *wire.Worker { change(w); return w }

var (
	silent   = func(w *wire.Worker) { w.At = at.Add(-40 * time.Second) }
	stopping = func(w *wire.Worker) { w.State = wire.WorkerStopping }
	bulk     = func(w *wire.Worker) { w.Lanes = []wire.Lane{"bulk"} }
	trial    = func(w *wire.Worker) { w.Relay.State, w.Relay.Next = wire.RelayTrial, time.Time{} }
	alarm    = func(w *wire.Worker) { w.Relay.Alarm = true }
	refused  = func(w *wire.Worker) { w.Relay.Held = []string{"a@x.test: 550 no"} }
	soon     = func(w *wire.Worker) { w.Relay.Next = at.Add(5 * time.Second) }
	another  = func(w *wire.Worker) { w.Relay.Name = "s:25" }
	misruled = func(w *wire.Worker) { w.RulesFault = "POSTRIDER_RELAYS: /r.yaml:2:12: code: is 55" }
)

// TestJudgeWorkers has what status says of workers, relays and one lane with 500 messages
// that are ready for a minute, of which nothing was settled within the last minute.
func TestJudgeWorkers(t *testing.T) {
	t.Parallel()
	since := regexp.QuoteMeta(Clock(at.Add(-2 * time.Minute)))
	for name, c := range map[string]struct {
		workers *Workers
		takers  int // pulls at the broker
		want    []string
		pace    string
	}{
		"all is well": {crew(up("h1")), 1, []string{
			"ok workers broker: 1 (h1)",
			"problem mail normal: 500 messages ready, the oldest for 1m, and nothing was settled within the last minute, though its workers run and their relay is up: h1 | look at the log",
		}, "though its workers run and their relay is up"},
		"relay down": {crew(down("h1", 2), with(down("h2", 1), soon)), 0, []string{
			"ok workers broker: 2 (h1, h2)",
			"problem relay r:25: refused the session: 421 4.3.2 no; down since " + since + "; 500 messages wait, and no attempt is counted | next try in 5s; ask its operator",
			"ok mail normal: 500 messages ready, the oldest for 1m, waits for relay r:25 | $",
		}, "; relay r:25 refused the session: 421 4.3.2 no; down since " + since + "; next try in 5s, and no attempt is counted"},
		"relay down until somebody changes something": {crew(with(down("h1", 2), alarm)), 0, []string{
			"ok workers", "problem relay r:25: .* | ask its operator; next try in 20s", "ok mail",
		}, "down since"},
		"relay down for one": {crew(down("h1", 2), up("h2")), 1, []string{
			"ok workers broker: 2 (h1, h2)",
			"warning relay r:25: refused .*; down since " + since + "; so say 1 of 2 workers (h1) | next try",
			"problem mail normal: .*though its workers run and their relay is up: h1, h2 | ",
		}, "though its workers run"},
		"relay down for those of another lane": {crew(with(down("h1", 2), bulk), up("h2")), 1, []string{
			"ok workers", "warning relay r:25: .*so say 1 of 2", "problem mail normal: .*: h2 | ",
		}, "though its workers run"},
		"two relays": {crew(down("h1", 2), with(up("h2"), another)), 1, []string{
			"ok workers", "warning relay r:25: [^(]* | ", "problem mail normal: .*though its workers run",
		}, "though its workers run"},
		"relay on trial": {crew(with(down("h1", 2), trial)), 0, []string{
			"ok workers", "warning relay r:25: refused .* no, since " + since + "; it accepts sessions again, and one message at a time is sent; 500 messages wait, .* | it is being tried now; ask", "ok mail",
		}, "one message at a time is sent; it is being tried now"},
		"trial for one": {crew(down("h1", 1), with(down("h2", 2), trial)), 0, []string{
			"ok workers", "problem relay r:25: .*down since .* | next try in 20s", "ok mail",
		}, "down since"},
		"a sender is refused": {crew(with(up("h1"), refused), with(up("h2"), refused)), 0, []string{
			"ok workers", "problem relay r:25: refuses mail of a@x.test: 550 no; it is put off, and no attempt is counted | see what the reply says of this sender, ask the relay's operator, or say what it means by a rule (POSTRIDER_RELAYS; postrider relay check); it is tried again by itself$", "problem mail",
		}, "though its workers run"},
		"wrong rules": {crew(with(up("h1"), misruled), up("h2"), with(up("h3"), misruled), with(up("h4"), func(w *wire.Worker) { w.RulesFault = "POSTRIDER_RELAYS: /s.yaml: no" })), 0, []string{
			"ok workers", "problem rules h1, h3: POSTRIDER_RELAYS: /r.yaml:2:12: code: is 55; the former rules are in force, and a worker that starts with this file fails | correct the file; postrider relay check examines it$",
			"problem rules h4: POSTRIDER_RELAYS: /s.yaml: no; the former", "problem mail",
		}, "though its workers run"},
		"wrong rules of one that was killed": {crew(with(with(up("h1"), misruled), silent), up("h2")), 0, []string{
			"warning workers h1", "problem mail",
		}, "though its workers run"},
		"none": {crew(), 0, []string{
			"note workers broker: none is running", "problem mail normal: .*ready, .*, and no worker takes mail of this lane: none is running | start a worker",
		}, "; no worker takes mail of this lane: none is running"},
		"killed": {crew(with(up("h1"), silent)), 0, []string{
			"warning workers h1: worker h1 has not been heard of since .*: it was killed, or is cut off from the broker | look",
			"problem mail normal: .*no worker takes mail of this lane: worker h1 has not been heard of since",
		}, "no worker takes mail of this lane: worker h1 has not been heard of"},
		"two of three killed": {crew(with(up("h1"), silent), with(up("h2"), silent), up("h3")), 1, []string{
			"warning workers h1, h2: 2 workers have not been heard of since .*: they were killed", "problem mail normal: .*: h3 | ",
		}, "though its workers run"},
		"killed while the relay was down": {crew(with(down("h1", 2), silent)), 0, []string{
			"warning workers h1", "problem mail normal: .*no worker takes mail",
		}, "not been heard of"},
		"killed and started again": {crew(with(up("h1"), silent), with(up("h1"), func(w *wire.Worker) { w.ID, w.Started = "new", at.Add(-20*time.Second) })), 1, []string{
			"ok workers broker: 1 (h1)", "ok mail normal: nothing is overdue | $", // in 20 s it could not settle much
		}, ""},
		"stopping": {crew(with(up("h1"), stopping)), 0, []string{
			"note workers broker: none is running", "problem mail normal: .*no worker takes mail of this lane: h1 is stopping",
		}, "h1 is stopping"},
		"of other lanes": {crew(with(up("h1"), bulk)), 0, []string{
			"ok workers broker: 1 (h1)", "problem mail normal: .*no worker takes mail of this lane: those that run have other lanes (h1) | add normal to POSTRIDER_LANES of a worker",
		}, "those that run have other lanes"},
		"older ones": {crew(), 2, []string{
			"note workers broker: mail is taken, by a worker that says nothing of itself", "problem mail normal: .*within the last minute | look at the log of the workers: none of this lane runs, or their relay",
		}, "no worker runs, or its relay is down"},
		"not permitted": {&Workers{Unread: "no answer"}, 0, []string{
			"warning workers KV_POSTRIDER: could not be read: no answer | ", "problem mail normal: .*within the last minute | look at the log of the workers: none of this lane runs, or their relay",
		}, "no worker runs, or its relay is down"},
	} {
		l := Lane{Lane: "normal", Waiting: 500, Oldest: at.Add(-time.Minute), Takers: c.takers, workers: c.workers}
		var got []string
		for _, f := range append(c.workers.Judge([]Lane{l}, at), l.Judge(at)) {
			got = append(got, string(f.Level)+" "+f.Check+" "+f.At+": "+f.Found+" | "+f.Do)
		}
		same := slices.EqualFunc(got, c.want, func(g, want string) bool {
			want = strings.NewReplacer("(", `\(`, ")", `\)`, " | ", ` \| `).Replace(want)
			return regexp.MustCompile("^" + want).MatchString(g)
		})
		if !same {
			t.Errorf("%s:\n  %s\nwant\n  %s", name, strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
		}
		if got := message(Waiting, 0).pace(at, &l); !strings.Contains(got, strings.ReplaceAll(c.pace, `\`, "")) {
			t.Errorf("%s: show says %q, want %q", name, got, c.pace)
		}
	}
}

// TestJudgeIdleLane: a lane without mail is not wrong because nobody takes its mail. The
// relay that is down for all its workers is.
func TestJudgeIdleLane(t *testing.T) {
	t.Parallel()
	for _, w := range []*Workers{crew(), crew(down("h1", 1))} {
		l := Lane{Lane: "normal", workers: w}
		if f := l.Judge(at); f.Level != OK || l.Stands() {
			t.Errorf("%+v", f)
		}
		for _, f := range w.Judge([]Lane{l}, at) {
			if f.Wrong() != (f.Check == "relay") || strings.Contains(f.Found, "wait") {
				t.Errorf("%+v", f)
			}
		}
	}
}
