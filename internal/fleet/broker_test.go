package fleet

import (
	"context"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/stream"
)

// TestLeaderKilled kills the broker that leads the lane (-9), again and again,
// and starts it again.
func TestLeaderKilled(t *testing.T) {
	f := begin(t, 2)
	f.publish()
	for range leaderKills {
		n, killed := f.leader(), time.Now()
		f.kill(n)
		stream.Pause(t.Context(), downFor)
		f.start(n)
		f.load.more(f, 50)
		f.broke(killed, time.Now().Add(settle))
		stream.Pause(t.Context(), time.Until(killed.Add(killEvery)))
		f.whole()
	}
	f.verdict("leader-killed")
}

// TestLeadersStepDown has the leaders of the lane's streams and consumers, and of the
// records, step down while a backlog is delivered. Nothing is sent twice but what arrives
// at such a moment.
func TestLeadersStepDown(t *testing.T) {
	f := begin(t, 2, "-delay", "2s")
	f.publishUpTo(backlog)
	<-f.load.done
	stream.Pause(t.Context(), ackWait) // what is left is older than AckWait
	c, err := f.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	storming, over := context.WithTimeout(t.Context(), stepFor)
	defer over()
	f.stepDowns = storm.StepDowns(storming, c.NC(), stepEvery)
	t.Logf("leaders that stepped down: %d", f.stepDowns)
	f.verdict("leaders-step-down")
}

// stepsDown is when a NATS leader without peers knows it at last: it looks every
// ten seconds whether it has heard of most of them within ten.
const stepsDown = 20 * time.Second

// TestLeaderCutOff cuts the broker that leads the lane off from its peers, and
// leaves it its clients: those it has can do nothing, the others go on with the
// leader that the peers choose.
func TestLeaderCutOff(t *testing.T) {
	f := begin(t, 2)
	f.publish()
	n, cut := f.leader(), time.Now()
	f.cut(n.container, f.routes)
	f.load.more(f, 50)
	stream.Pause(t.Context(), time.Until(cut.Add(leaderCut)))
	alone := time.Since(cut)
	f.mend(n.container, f.routes, n.route())
	f.load.more(f, 50)
	f.whole()
	whole := time.Now()
	// It delivers mail until it steps down, and after AckWait the others have what
	// the workers it serves had in flight. Nor is the fault over before all brokers have
	// caught up: until then leaders change, which deliver again what is in flight, and
	// records get no answer.
	over := cut.Add(min(alone, stepsDown) + ackWait)
	if whole.Add(settle).After(over) {
		over = whole.Add(settle)
	}
	f.broke(cut, over)
	f.verdict("leader-cut-off")
}

// TestNodeWiped takes a broker's store away, again and again another's: what is
// acknowledged has to come back from its peers before the next one goes.
func TestNodeWiped(t *testing.T) {
	f := begin(t, 2)
	f.publish()
	for i := range wipes {
		wiped := time.Now()
		f.wipe(f.nodes[i])
		f.load.more(f, 50)
		f.whole()
		f.broke(wiped, time.Now().Add(settle))
	}
	f.verdict("node-wiped")
}
