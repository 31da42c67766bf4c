package fleet

import (
	"testing"
	"time"

	"github.com/postrider/postrider/stream"
)

// TestWorkerCutOff cuts a worker off from the brokers in mid-delivery; the relay
// it still reaches. It says that it is not ready, lives on, and works again
// when it is let back.
func TestWorkerCutOff(t *testing.T) {
	f := begin(t, 2)
	f.publish()
	w, other := f.workers[0], f.workers[1]
	cut := time.Now()
	f.cut(w.container, f.front)
	w.await(t, "/readyz", false)
	t.Logf("not ready after %s", time.Since(cut).Round(100*time.Millisecond))
	w.hold(t, "/livez", true)
	other.hold(t, "/readyz", true)
	f.load.more(f, 50)
	back := time.Now()
	f.mend(w.container, f.front)
	w.await(t, "/readyz", true)
	t.Logf("ready %s after its return", time.Since(back).Round(100*time.Millisecond))
	// After AckWait the other one has what this one had in flight, and it acts no more.
	f.broke(cut, cut.Add(ackWait))
	// From here on only the one that was cut off can empty the queue.
	f.stop(other)
	f.load.more(f, 50)
	f.verdict("worker-cut-off")
}

// TestRelayCutOff cuts the relay off from the workers: they wait, and are as
// ready as before.
func TestRelayCutOff(t *testing.T) {
	f := begin(t, 2)
	f.publish()
	cut := time.Now()
	f.cut(f.relay, f.out)
	for time.Since(cut) < relayCut {
		for _, w := range f.workers {
			w.hold(t, "/readyz", true)
		}
		stream.Pause(t.Context(), 500*time.Millisecond)
	}
	f.mend(f.relay, f.out, "relay")
	f.broke(cut, time.Now().Add(settle))
	f.load.more(f, 50)
	f.verdict("relay-cut-off")
}
