package fleet

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go/exec"

	"github.com/postrider/postrider/internal/testrun"
)

// TestRollout replaces all workers under load as a rollout does: a new one
// starts and is ready, an old one is told to stop and ends. No fault, no double.
func TestRollout(t *testing.T) {
	f := begin(t, rolled)
	f.publish()
	for _, old := range f.workers[:rolled] {
		f.startWorker(olderImage).await(t, "/readyz", true)
		f.stop(old)
	}
	f.load.more(f, 50)
	f.verdict("rollout")
}

// TestUpgrade rolls out a newer worker (another version of the
// streams' settings, dead letters kept for a day longer). Its settings stand
// from its start on, also when an older one starts beside it.
func TestUpgrade(t *testing.T) {
	f := begin(t, 1)
	f.publish()
	old := f.workers[0]
	f.deadFor(90)
	f.startWorker(newerImage).await(t, "/readyz", true)
	f.deadFor(91)
	again := f.startWorker(olderImage)
	again.await(t, "/readyz", true)
	f.deadFor(91)
	f.stop(old)
	f.stop(again)
	f.load.more(f, 50)
	f.verdict("upgrade")
	f.deadFor(91)
}

// deadFor holds how many days dead letters are kept.
func (f *fleet) deadFor(days int) {
	f.t.Helper()
	testrun.Eventually(f.t, "MAIL_DEAD can be read", ready, func() bool {
		i := f.stream("MAIL_DEAD")
		if i != nil && i.Config.MaxAge != time.Duration(days)*24*time.Hour {
			f.t.Errorf("dead letters are kept for %s, want %d days", i.Config.MaxAge, days)
		}
		return i != nil
	})
}

// TestOperator runs postrider in a worker's container: it shows the cluster.
func TestOperator(t *testing.T) {
	f := begin(t, 2)
	f.publishUpTo(80)
	<-f.load.done
	r := f.verdict("none")
	status, out, err := f.workers[0].container.Exec(t.Context(), []string{"postrider", "status", "--json"}, exec.Multiplexed())
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	if _, err := said.ReadFrom(out); err != nil {
		t.Fatal(err)
	}
	if status != 0 {
		t.Fatalf("status %d: %s", status, &said)
	}
	var lanes struct {
		Lanes []struct {
			Lane      string
			Waiting   int
			InFlight  int `json:"in_flight"`
			Scheduled int
			Dead      int
			Takers    int
		}
	}
	if err := json.Unmarshal(said.Bytes(), &lanes); err != nil {
		t.Fatalf("%v: %s", err, &said)
	}
	if len(lanes.Lanes) != 3 {
		t.Fatalf("%d lanes, want 3: %s", len(lanes.Lanes), &said)
	}
	for _, l := range lanes.Lanes {
		dead := 0
		if l.Lane == "normal" {
			dead = r.Dead
		}
		if l.Waiting+l.InFlight+l.Scheduled != 0 || l.Dead != dead || l.Takers == 0 {
			t.Errorf("lane %+v, want nothing waiting, %d dead and takers", l, dead)
		}
	}
}
