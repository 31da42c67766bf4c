package app

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/check"
)

// tally counts messages of this worker.
type tally struct{ inFlight, settled, requeued int }

// tally reads what the consumer counts for /metrics.
func (w *Worker) tally() (n tally) {
	into := map[string]*int{
		"postrider_in_flight": &n.inFlight, "postrider_settled_total": &n.settled,
		"postrider_requeued_total": &n.requeued, "postrider_left_total": &n.requeued,
	}
	families, _ := w.reg.Gather() // without what a failed collector would add
	for _, f := range families {
		if sum := into[f.GetName()]; sum != nil {
			for _, m := range f.GetMetric() {
				*sum += int(m.GetGauge().GetValue() + m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// stop reports what a worker that was told to stop waits for.
func (r *reporter) stop() {
	r.atStop = r.w.tally()
	n, drain := r.atStop.inFlight, r.w.set.Consumer.Drain
	failure := r.w.stops.failure()
	switch {
	case failure != nil:
		r.w.log.Error("stopping at once", "in_flight", n, "error", failure)
	case !r.text:
		r.w.log.Info("stopping", "in_flight", n, "within", check.Duration(drain))
	case n == 0:
		r.print("Stopping: no message is in flight.\n")
	default:
		r.print(fmt.Sprintf("Stopping: waits at most %s for %s in flight. A second signal requeues at once.\n", check.Duration(drain), messages(n)))
	}
}

// stopped reports what became of those.
func (r *reporter) stopped() {
	now := r.w.tally()
	settled, requeued := now.settled-r.atStop.settled, now.requeued-r.atStop.requeued
	switch {
	case !r.text:
		r.w.log.Info("stopped", "settled", settled, "requeued", requeued)
	case settled+requeued == 0:
		r.print("Stopped.\n")
	default:
		r.print(fmt.Sprintf("Stopped: %s settled, %d requeued.\n", messages(settled), requeued))
	}
}

func messages(n int) string {
	if n == 1 {
		return "1 message"
	}
	return fmt.Sprintf("%d messages", n)
}

// print writes lines with the time. A line that begins with a space belongs to the one
// before.
func (r *reporter) print(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	at := stamp(time.Now())
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, " ") {
			b.WriteString(at + " ")
		}
		b.WriteString(line)
	}
	_, _ = io.WriteString(r.out, b.String())
}
