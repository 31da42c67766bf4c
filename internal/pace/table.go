package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
)

// inMemory are more syncs than a disk does in a second.
const inMemory = 50_000

// table prints the rows, each figure beside the one that was recorded last.
func table(out io.Writer, rows []row, last record) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tmails\tmessages/s\tsyncs/s\tratio\tCPU s/1,000\tfsyncs/message\ttwice")
	for _, r := range rows {
		was := last.Ways[r.way]
		fsyncs := beside(r.fsyncs, was.Fsyncs)
		if r.uncounted != "" {
			fsyncs = "not counted: " + r.uncounted
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%.0f\t%s\t%s\t%s\t%d\n", r.way, r.mails, r.perSecond, r.syncs, beside(r.ratio(), was.Ratio), beside(r.cpu, was.CPU), fsyncs, len(r.twice))
	}
	_ = w.Flush()
	for _, r := range rows {
		if len(r.twice) > 0 {
			fmt.Fprintf(out, "%s, accepted twice: %s\n", r.way, strings.Join(r.twice[:min(len(r.twice), 20)], " "))
		}
	}
	if len(rows) > 0 && rows[0].syncs > inMemory {
		fmt.Fprintf(out, "%s does not sync to a disk, and the ratio says nothing: set TMPDIR to a directory on a disk\n", os.TempDir())
	}
	if last.Ways == nil {
		fmt.Fprintln(out, "nothing is recorded yet: make pace RECORD=1")
		return
	}
	fmt.Fprintf(out, "in brackets: recorded %s at %s on %d cores, and the difference\n", last.Date, cmp.Or(last.Commit, "an unknown commit"), last.Cores)
}

// beside is a figure, the recorded one and the difference; 0 is none.
func beside(now, was float64) string {
	if was == 0 {
		return digits(now)
	}
	return fmt.Sprintf("%s (%s, %+.0f%%)", digits(now), digits(was), (now/was-1)*100)
}

// digits are three of them.
func digits(x float64) string { return fmt.Sprint(round(x)) }

// machine is what the figures depend on besides the disk.
func machine() string {
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%d cores, load %s", runtime.NumCPU(), cmp.Or(first, "unknown"))
}
