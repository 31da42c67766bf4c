package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/submit"
	"github.com/postrider/postrider/wire"
)

// cases measure one thing each, with so many mails.
var cases = map[string]func(ctx context.Context, b bench, out io.Writer, mails int) error{
	"lone": lone, "urgent": urgent, "waiting": waiting, "deferred": deferred, "unrecorded": unrecorded,
}

// setting is a worker, a relay for it and a client of its broker.
type setting struct {
	*aWorker
	*submit.Client
	sink *sink
	dir  string
}

// set starts them. With a relay address nothing listens there yet, and sink is nil.
func (b bench) set(ctx context.Context, s *sink, relay string, env ...string) (*setting, error) {
	dir, err := os.MkdirTemp(b.dir, "run")
	if err != nil {
		return nil, err
	}
	x := &setting{sink: s, dir: dir}
	if x.aWorker, err = b.startWorker(dir, relay, false, env...); err != nil {
		return nil, err
	}
	if x.Client, err = submit.Dial(ctx, x.broker); err != nil {
		x.kill()
		return nil, err
	}
	return x, nil
}

func (x *setting) close() {
	x.Close()
	x.kill()
	_ = os.RemoveAll(x.dir)
}

// numbered are mails of 10 KB with the ids from first on. They are made as they are read.
func numbered(first, n int) iter.Seq[*schema.Envelope] {
	text := tenKilobytes(1)[0].Text
	return func(yield func(*schema.Envelope) bool) {
		for i := range n {
			id := "m" + strconv.Itoa(first+i)
			if !yield(&schema.Envelope{ID: id, From: mail.Address{Email: "app@example.com"}, To: []mail.Address{{Email: id + domain}}, Subject: "Pace", Text: text}) {
				return
			}
		}
	}
}

func (x *setting) publishAll(ctx context.Context, to wire.Lane, all iter.Seq[*schema.Envelope]) error {
	for _, err := range x.PublishAll(ctx, to, all) {
		if err != nil {
			return err
		}
	}
	return nil
}

// lone publishes one mail after the other, each when the one before it has arrived, and then
// gives the same mails to the relay itself.
func lone(ctx context.Context, b bench, out io.Writer, mails int) error {
	s, err := newSink(2*mails, b.far)
	if err != nil {
		return err
	}
	defer s.close()
	x, err := b.set(ctx, s, s.addr)
	if err != nil {
		return err
	}
	defer x.close()
	var published, acknowledged, direct []float64
	for e := range numbered(1, mails) {
		began := time.Now()
		if _, err := x.Publish(ctx, lane, e); err != nil {
			return err
		}
		stored := time.Now()
		at, err := s.acceptedAt(ctx, e.ID)
		if err != nil {
			return err
		}
		published, acknowledged = append(published, ms(at.Sub(began))), append(acknowledged, ms(at.Sub(stored)))
	}
	c, err := gosmtp.Dial(s.addr)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for e := range numbered(mails+1, mails) {
		began := time.Now()
		if err := give(c, e); err != nil {
			return err
		}
		at, err := s.acceptedAt(ctx, e.ID)
		if err != nil {
			return err
		}
		direct = append(direct, ms(at.Sub(began)))
	}
	fmt.Fprintf(out, "%d mails, one at a time: accepted %s after the publish began, %s after it was acknowledged; %s when given to the relay itself\n",
		mails, times(published), times(acknowledged), times(direct))
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func times(all []float64) string {
	all = slices.Sorted(slices.Values(all))
	return fmt.Sprintf("%.2f ms (p99 %.2f)", median(all), all[min(len(all)*99/100, len(all)-1)])
}

// behind publishes mails with the relay away, and then starts the relay.
func (b bench) behind(ctx context.Context, want int, publish func(x *setting) error) (*setting, error) {
	relay := freeport.Addr()
	x, err := b.set(ctx, nil, relay, "SMTP_PAUSE_MAX=1s")
	if err != nil {
		return nil, err
	}
	if err = publish(x); err == nil {
		x.sink, err = newSink(want, far{plain: b.far.plain}, smtptest.Listen(relay))
	}
	if err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

// urgentMails are published beside those in bulk.
const urgentMails = 200

// urgent publishes mails in bulk while the relay is away, and some in urgent once it takes
// those.
func urgent(ctx context.Context, b bench, out io.Writer, mails int) error {
	x, err := b.behind(ctx, mails+urgentMails, func(x *setting) error { return x.publishAll(ctx, "bulk", numbered(1, mails)) })
	if err != nil {
		return err
	}
	defer x.close()
	defer x.sink.close()
	if _, err := x.sink.awaitSome(ctx, mails/100); err != nil {
		return err
	}
	var took []float64
	for e := range numbered(mails+1, urgentMails) {
		began := time.Now()
		if _, err := x.Publish(ctx, "urgent", e); err != nil {
			return err
		}
		at, err := x.sink.acceptedAt(ctx, e.ID)
		if err != nil {
			return err
		}
		took = append(took, ms(at.Sub(began)))
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Fprintf(out, "%d mails in bulk ahead: a mail in urgent is accepted %s after its publish began; %d of all had been sent at the end\n", mails, times(took), x.sink.relay.Accepted())
	return nil
}

// waiting measures the first ten thousand of many mails that wait.
func waiting(ctx context.Context, b bench, out io.Writer, mails int) error {
	first := min(mails, 10_000)
	x, err := b.behind(ctx, mails, func(x *setting) error { return x.publishAll(ctx, lane, numbered(1, mails)) })
	if err != nil {
		return err
	}
	defer x.close()
	defer x.sink.close()
	pid := x.Cmd.Process.Pid
	// From now on the most memory is measured anew, proc(5).
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		return err
	}
	began, err := x.sink.awaitSome(ctx, 1)
	if err != nil {
		return err
	}
	ended, err := x.sink.awaitSome(ctx, first)
	if err != nil {
		return err
	}
	most, err := mostMemory(pid)
	fmt.Fprintf(out, "%d mails wait: the first %d took %.0f µs each; at most %d MiB in memory\n", mails, first, float64(ended.Sub(began).Microseconds())/float64(first), most>>10)
	return err
}

// mostMemory is the most resident memory of a process, in KiB.
func mostMemory(pid int) (int, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "VmHWM:" {
			return strconv.Atoi(f[1])
		}
	}
	return 0, fmt.Errorf("process %d does not say its memory", pid)
}

// deferred publishes mails that the relay defers, and waits until all are scheduled.
func deferred(ctx context.Context, b bench, out io.Writer, mails int) error {
	s, err := newSink(mails, b.far, smtptest.On("DOT", smtptest.Answer{Reply: "451 4.3.0 later"}))
	if err != nil {
		return err
	}
	defer s.close()
	x, err := b.set(ctx, s, s.addr, "POSTRIDER_RETRY_AFTER=1h")
	if err != nil {
		return err
	}
	defer x.close()
	began := time.Now()
	if err := x.publishAll(ctx, lane, numbered(1, mails)); err != nil {
		return err
	}
	for {
		all, err := x.metrics(ctx)
		if err != nil {
			return err
		}
		if all[`postrider_settled_total{event="deferred",lane="normal"}`] >= float64(mails) {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	c, err := x.cost()
	fmt.Fprintf(out, "%d mails that are deferred: %.0f are recorded, logged and scheduled a second; %.3f CPU s/1,000\n", mails, float64(mails)/took.Seconds(), c.cpu.Seconds()/float64(mails)*1000)
	return err
}

// metrics are those of the worker now.
func (w *aWorker) metrics(ctx context.Context) (map[string]float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(answer.Body)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), "} ")
		if ok {
			name += "}"
		} else {
			name, value, _ = strings.Cut(lines.Text(), " ")
		}
		if f, err := strconv.ParseFloat(value, 64); err == nil {
			all[name] = f
		}
	}
	return all, lines.Err()
}

// unrecorded publishes as fast as it can, and tells how long the relay has accepted a mail
// before that is recorded.
func unrecorded(ctx context.Context, b bench, out io.Writer, mails int) error {
	s, err := newSink(mails, b.far)
	if err != nil {
		return err
	}
	defer s.close()
	x, err := b.set(ctx, s, s.addr)
	if err != nil {
		return err
	}
	defer x.close()
	if err := x.publishAll(ctx, lane, numbered(1, mails)); err != nil {
		return err
	}
	if _, err := s.wait(ctx); err != nil {
		return err
	}
	all, err := x.metrics(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d mails: from the relay's reply to the record %.1f ms at the median, %.1f ms at p99\n", mails,
		quantile(all, "postrider_unrecorded_seconds", 0.5)*1000, quantile(all, "postrider_unrecorded_seconds", 0.99)*1000)
	return nil
}

// quantile of a histogram, in its unit; between two bounds it takes an even spread.
func quantile(all map[string]float64, name string, q float64) float64 {
	counts := map[float64]float64{}
	for series, n := range all {
		if le, ok := strings.CutPrefix(series, name+`_bucket{le="`); ok {
			bound, err := strconv.ParseFloat(strings.TrimSuffix(le, `"}`), 64)
			if err == nil {
				counts[bound] = n
			}
		}
	}
	var low, below float64
	for _, bound := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[bound]; n >= q*counts[math.Inf(1)] && n > below {
			return low + (bound-low)*(q*counts[math.Inf(1)]-below)/(n-below)
		}
		low, below = bound, counts[bound]
	}
	return math.NaN()
}
