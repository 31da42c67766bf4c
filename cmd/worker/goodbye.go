package main

import (
	"fmt"
	"io"
)

// tally is how many mails this worker holds, has settled, and has left for
// another delivery.
type tally struct{ inFlight, ended, back int }

// tally reads what the consumer counts for /metrics.
func (w *worker) tally() (n tally) {
	into := map[string]*int{
		"postrider_in_flight": &n.inFlight, "postrider_settled_total": &n.ended,
		"postrider_requeued_total": &n.back, "postrider_left_total": &n.back,
	}
	families, _ := w.reg.Gather() // a collector that fails leaves the others
	for _, f := range families {
		if sum := into[f.GetName()]; sum != nil {
			for _, m := range f.GetMetric() {
				*sum += int(m.GetGauge().GetValue() + m.GetCounter().GetValue())
			}
		}
	}
	return n
}

// goodbye says what a worker that is told to stop still does.
func (t *teller) goodbye() {
	t.stopping = t.w.tally()
	n, drain := t.stopping.inFlight, t.w.set.consumer.Drain
	switch {
	case !t.text:
		t.w.log.Info("stopping: what is in hand ends", "in_flight", n, "within", drain)
	case n == 0:
		t.print("Stopping: no mail is in hand.\n")
	default:
		t.print(fmt.Sprintf("Stopping: waits for the mail in hand (%d), %s at most. A second signal hands it back at once.\n", n, drain))
	}
}

// gone says what became of that.
func (t *teller) gone() {
	now := t.w.tally()
	ended, back := now.ended-t.stopping.ended, now.back-t.stopping.back
	switch {
	case !t.text:
		t.w.log.Info("stopped", "ended", ended, "requeued", back)
	case ended+back == 0:
		t.print("Stopped.\n")
	default:
		t.print(fmt.Sprintf("Stopped: of the mail in hand %d came to an end, %d was handed back for the next worker.\n", ended, back))
	}
}

func (t *teller) print(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = io.WriteString(t.out, s)
}
