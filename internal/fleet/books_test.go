package fleet

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// load is mail that is published until it is enough.
type load struct {
	producer *storm.Producer
	enough   context.CancelFunc
	done     chan struct{}
}

// publish begins to publish, rate mails a second where nothing is broken.
func (f *fleet) publish() {
	f.t.Helper()
	f.publishUpTo(1 << 30)
	f.load.more(f, 50)
}

// publishUpTo begins to publish that many mails.
func (f *fleet) publishUpTo(n int) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	// Enough clients for some to be connected to each broker.
	l := &load{&storm.Producer{URL: f.url(), Clients: 8, Every: 8 * time.Second / time.Duration(rate)}, cancel, make(chan struct{})}
	go func() {
		defer close(l.done)
		_ = l.producer.Publish(ctx, n, storm.MixedMail)
	}()
	f.t.Cleanup(l.stop)
	f.load = l
}

// more waits until that many more are acknowledged.
func (l *load) more(f *fleet, n int) {
	f.t.Helper()
	before := len(l.producer.Acknowledged())
	testrun.Eventually(f.t, "producers are served", ready, func() bool { return len(l.producer.Acknowledged()) >= before+n })
}

func (l *load) stop() {
	l.enough()
	<-l.done
}

// settle is how long after a return the doubles of an outage may still come.
const settle = 2 * time.Second

// broke says that something was broken in that time: what was open at the relay
// meanwhile may have gone out twice.
func (f *fleet) broke(from, to time.Time) {
	f.faults = append(f.faults, storm.Fault{From: from, To: to})
}

// drained bounds the wait for the queue to be empty: what is left then is
// stranded.
const drained = 2 * time.Minute

// verdict ends the load, waits until the queue is empty, and holds the promise.
func (f *fleet) verdict(fault string) *storm.Report {
	t := f.t
	t.Helper()
	f.load.stop()
	c, err := f.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	q, err := storm.Drain(t.Context(), c, drained)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, book := range []string{"book", "open"} {
		f.copyBook(book, filepath.Join(dir, book))
	}
	f.elections()
	r, err := storm.Verdict(f.load.producer.Acknowledged(), dir, q, f.faults)
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(f.began).Round(100 * time.Millisecond)
	t.Logf("fault=%s %s took=%s", fault, r, took)
	results.add(fault, r, took)
	f.tellOf(r.Unexplained, dir, q)
	atMost(t, 0, "lost", r.Lost)
	atMost(t, 0, "dead though delivered", r.Both)
	atMost(t, f.stepDowns/4, "sent twice, which no fault explains", r.Unexplained)
	return r
}

// elected is what a broker says when a consumer has a new leader.
var elected = regexp.MustCompile(`(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d+) \[INF\] JetStream cluster new consumer leader for`)

// electionsIn are those after that time.
func electionsIn(log []byte, after time.Time) (all []time.Time) {
	for _, m := range elected.FindAllSubmatch(log, -1) {
		if at, err := time.Parse("2006/01/02 15:04:05.000000", string(m[1])); err == nil && at.After(after) {
			all = append(all, at)
		}
	}
	return all
}

// elections are a part of the fault that they follow, however late they are: a new leader
// does not know what the one before delivered last, and for an AckWait two workers may have
// one message.
func (f *fleet) elections() {
	f.t.Helper()
	if len(f.faults) == 0 {
		return
	}
	for _, n := range f.nodes {
		log, err := output(n.container)
		if err != nil {
			f.t.Fatal(err)
		}
		for _, at := range electionsIn(log, f.faults[0].From) {
			f.broke(at, at.Add(ackWait))
		}
	}
}

func TestElectionsIn(t *testing.T) {
	t.Parallel()
	log := "[1] 2026/11/30 14:45:36.200898 [INF] JetStream cluster new consumer leader for '$G > MAIL_SEND_BULK > fresh'\n" +
		"[1] 2026/11/30 14:45:37.055462 [INF] JetStream cluster new consumer leader for '$G > MAIL_LATER_NORMAL > due'\n" +
		"[1] 2026/11/30 14:45:38.055462 [INF] JetStream cluster new stream leader for '$G > MAIL_RECORD'\n"
	after := time.Date(2026, 11, 30, 14, 45, 36, 500_000_000, time.UTC)
	if all := electionsIn([]byte(log), after); len(all) != 1 || all[0].Sub(after) != 555462*time.Microsecond {
		t.Error(all)
	}
}

// tellOf logs when those were accepted and recorded, and the faults.
func (f *fleet) tellOf(keys []storm.Key, dir string, q *storm.Queue) {
	f.t.Helper()
	if len(keys) == 0 {
		return
	}
	turns, err := storm.ReadLines[storm.Turn](filepath.Join(dir, "open"))
	if err != nil {
		f.t.Fatal(err)
	}
	for _, k := range keys {
		f.t.Logf("%s: first recorded %s", k, q.Recorded[k].Format(time.StampMilli))
		for _, x := range turns {
			if storm.IDOf(x.ID) == k.ID && slices.Contains(x.Rcpts, k.Rcpt) {
				f.t.Logf("%s: %s %s", k, x.What, x.At.Format(time.StampMilli))
			}
		}
	}
	for _, x := range f.faults {
		f.t.Logf("fault from %s to %s", x.From.Format(time.StampMilli), x.To.Format(time.StampMilli))
	}
}

// atMost fails the test if there are more than n of those.
func atMost(t *testing.T, n int, what string, keys []storm.Key) {
	t.Helper()
	if len(keys) > n {
		t.Errorf("%d %s, want at most %d: %v", len(keys), what, n, keys[:min(len(keys), 20)])
	}
}

// copyBook takes one of the relay's files out of its container, also if that
// is cut off.
func (f *fleet) copyBook(name, to string) {
	f.t.Helper()
	r, err := f.relay.CopyFileFromContainer(f.t.Context(), "/"+name)
	if err != nil {
		f.t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}
