// Command pace measures how many messages a second the worker as built delivers and
// what they cost, and prints that beside what was recorded last, or beside Postfix. It
// judges nothing: it fails only if the worker does not start or mails are missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

func main() { os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr)) }

// options are those of the command line.
type options struct {
	worker, file, commit string
	scale, rounds, mails int
	record               bool
	far                  far
	only                 string
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var o options
	fs := flag.NewFlagSet("pace", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.worker, "worker", filepath.Join("bin", "worker"), "the `program` to measure")
	fs.StringVar(&o.file, "file", filepath.Join("internal", "pace", "recorded.json"), "the `file` of the record")
	fs.BoolVar(&o.record, "record", false, "record the figures")
	fs.StringVar(&o.commit, "commit", "", "the `commit` to record them with")
	fs.IntVar(&o.scale, "scale", 1, "how many times the mails")
	fs.IntVar(&o.rounds, "compare", 0, "compare with Postfix, in so many `rounds`, and record nothing")
	fs.IntVar(&o.mails, "mails", 6000, "the mails of each round")
	fs.StringVar(&o.only, "case", "", "measure one `case`: "+strings.Join(slices.Sorted(maps.Keys(cases)), ", "))
	fs.DurationVar(&o.far.rtt, "rtt", 0, "the `time` of a round trip to the relay")
	fs.BoolVar(&o.far.plain, "plain", false, "the relay does not offer CHUNKING")
	if err := fs.Parse(args); err != nil {
		return 64 // EX_USAGE
	}
	if o.only != "" && cases[o.only] == nil {
		fmt.Fprintln(stderr, "pace: there is no case", o.only)
		return 64
	}
	if err := pace(ctx, o, stdout); err != nil {
		fmt.Fprintln(stderr, "pace:", err)
		return 1
	}
	return 0
}

func pace(ctx context.Context, o options, stdout io.Writer) error {
	program, err := filepath.Abs(o.worker)
	if err != nil {
		return err
	}
	last, err := readRecord(o.file)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "postrider-pace")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	defer testrun.OnAbort(func() { _ = os.RemoveAll(dir) })()
	fmt.Fprintf(stdout, "%s; mails of 10 KB; %s sessions\n", machine(), sessions)
	b := bench{dir: dir, program: program, yard: time.Second, least: leastMails, most: mostMails, scale: o.scale, traced: tracedMails, far: o.far}
	if measure := cases[o.only]; measure != nil {
		return measure(ctx, b, stdout, o.mails)
	}
	if o.rounds > 0 {
		return b.compare(ctx, stdout, rivals, o.rounds, o.mails)
	}
	rows, err := b.rows(ctx)
	if err != nil {
		return err
	}
	table(stdout, rows, last)
	if !o.record {
		return nil
	}
	return newRecord(rows, o.commit, time.Now()).write(o.file)
}
