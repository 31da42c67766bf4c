package fleet

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/postrider/postrider/internal/storm"
)

// results are the verdicts of all tests of this run.
var results table

// table adds up verdicts by fault.
type table struct {
	mu   sync.Mutex
	rows []row
}

type row struct {
	fault                                            string
	runs, acknowledged, delivered, dead, lost, twice int
	took                                             time.Duration
}

func (t *table) add(fault string, r *storm.Report, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.fault == fault })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, row{fault: fault})
	}
	x := &t.rows[i]
	x.runs++
	x.acknowledged += r.Acknowledged
	x.delivered += r.Delivered
	x.dead += r.Dead
	x.lost += len(r.Lost)
	x.twice += len(r.Twice)
	x.took += took
}

// String is the table, a fault a row.
func (t *table) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "fault\truns\tacknowledged\tdelivered\tdead\tlost\ttwice\ttook\t")
	for _, r := range t.rows {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t\n", r.fault, r.runs, r.acknowledged, r.delivered, r.dead, r.lost, r.twice, r.took.Round(time.Second))
	}
	w.Flush()
	return b.String()
}
