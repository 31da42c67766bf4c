package queue

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/wire"
)

// TestJudge: every finding says how bad it is, and what to do if it is wrong.
func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	const gib = 1 << 30
	lane := func(ready uint64, age time.Duration, settled uint64) Finding {
		l := &Lane{Lane: "normal", Waiting: ready, Settled: settled}
		if age > 0 {
			l.Oldest = now.Add(-age)
		}
		return l.Judge(now)
	}
	dead := func(n, recent uint64) Finding {
		d := &DeadLetters{Lanes: map[wire.Lane]uint64{"normal": n}, Recent: recent, Oldest: now.Add(-3 * time.Hour)}
		return d.Judge(now)
	}
	for name, c := range map[string]struct {
		got   Finding
		level Level
		says  string
	}{
		"an empty lane":         {lane(0, 0, 0), OK, "nothing is overdue"},
		"mail that moves":       {lane(5, time.Minute, 2), OK, "nothing is overdue"},
		"mail, just published":  {lane(5, time.Second, 0), OK, "nothing is overdue"},
		"stuck":                 {lane(5000, time.Minute, 0), Problem, "5,000 messages ready, the oldest for 1m, and nothing was settled"},
		"behind":                {lane(1, time.Hour, 2), Warning, "behind: 1 message ready, the oldest for 1h"},
		"settled since counted": {lane(0, time.Hour, 0), OK, "nothing is overdue"},

		"room":           {Room{gib, 4 * gib}.Judge(), OK, "1.0 GiB of 4.0 GiB"},
		"room at 75 %":   {Room{3 * gib, 4 * gib}.Judge(), Warning, "75 % full, 3.0 GiB of 4.0 GiB are stored: each worker takes fresh mail one at a time"},
		"room at 90 %":   {Room{9 * gib, 10 * gib}.Judge(), Problem, "90 % full, 9.0 GiB of 10.0 GiB are stored: each worker takes mail one at a time"},
		"no limit known": {Room{Used: gib}.Judge(), Note, "no limit"},

		"no dead letters":    {dead(0, 0), OK, "no dead letters"},
		"old dead letters":   {dead(7, 0), Note, "7 dead letters, the oldest died 3h ago"},
		"fresh dead letters": {dead(7, 2), Warning, "2 within the last hour"},

		"no lanes": {NoLanes(), Problem, "no lane"},
	} {
		if c.got.Level != c.level || !strings.Contains(c.got.Found, c.says) {
			t.Errorf("%s: %+v, want %s: %s", name, c.got, c.level, c.says)
		}
		if c.got.Wrong() != (c.level == Problem || c.level == Warning) || c.got.Wrong() && c.got.Do == "" {
			t.Errorf("%s: does not say what to do: %+v", name, c.got)
		}
	}
}

// TestJudgeStatus: each lane is judged, and workers, store and dead letters once.
func TestJudgeStatus(t *testing.T) {
	t.Parallel()
	looked := func(s *Status) (at []string) {
		for _, f := range s.Judge() {
			at = append(at, f.Check+" "+f.At)
		}
		return at
	}
	if got := looked(&Status{Lanes: []Lane{{Lane: "a"}, {Lane: "b"}}}); !slices.Equal(got, []string{"workers broker", "mail a", "mail b", "room store", "dead MAIL_DEAD"}) {
		t.Error(got)
	}
	if got := looked(&Status{}); !slices.Equal(got, []string{"workers broker", "lanes broker", "room store", "dead MAIL_DEAD"}) {
		t.Error(got)
	}
}
