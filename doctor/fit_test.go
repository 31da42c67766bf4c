package doctor

import (
	"regexp"
	"testing"
	"time"

	"github.com/postrider/postrider/queue"
)

// foreign is advice for whoever runs servers beside the workers.
var foreign = regexp.MustCompile(`cluster|that leads|postrider provision|NATS server|its account|the broker's`)

// TestFit: a worker that is its own broker is told nothing of a cluster, and
// whoever runs servers is.
func TestFit(t *testing.T) {
	t.Parallel()
	for do, fits := range fitting {
		if foreign.MatchString(fits) {
			t.Errorf("%q does not fit a worker that is its own broker", fits)
		}
		if all := Fit([]Finding{{Do: do}}, false); all[0].Do != do {
			t.Errorf("%q became %q for a broker of one's own", do, all[0].Do)
		}
	}
	for name, c := range map[string]struct {
		b    *testBroker
		want map[string]string
	}{
		"embedded": {embedded(t), map[string]string{"consumers": fitting[queue.StartWorker], "streams": fitting[provision]}},
		"plain":    {plain(t, ""), map[string]string{"consumers": queue.StartWorker, "streams": provision}},
	} {
		t.Run(name, func(t *testing.T) {
			c.b.must(c.b.js.DeleteStream(t.Context(), "MAIL_DEAD"))
			c.b.p.Broker.AckWait = time.Hour
			all := c.b.examine()
			for _, f := range all {
				if want := c.want[f.Check]; f.Level == Problem && want != "" && f.Do != want {
					t.Errorf("%s: %q, want %q", f.Check, f.Do, want)
				} else if f.Level == Problem {
					delete(c.want, f.Check)
				}
				if name == "embedded" && foreign.MatchString(f.Do) {
					t.Errorf("%s: %s: do %s", f.Check, f.Found, f.Do)
				}
			}
			if len(c.want) > 0 {
				t.Errorf("no finding about %v:\n%s", c.want, written(all))
			}
		})
	}
}
