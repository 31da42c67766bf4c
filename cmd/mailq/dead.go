package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/schema"
)

func (a *app) dead() *cobra.Command {
	cmd := &cobra.Command{Use: "dead", Short: "Mail that failed for good"}
	cmd.AddCommand(a.deadList(), a.deadReplay())
	return cmd
}

// choice is which letters a command is for.
type choice struct {
	ids                                   []string
	lane, reason, recipient, since, until string
	json                                  bool
}

func (c *choice) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&c.reason, "reason", "", "only letters dead for this reason: failed, exhausted, expired, bad-envelope, …")
	f.StringVar(&c.recipient, "recipient", "", "only letters to this address, or to @domain")
	f.StringVar(&c.lane, "lane", "", "only letters of this lane")
	f.StringVar(&c.since, "since", "", "only letters buried since: RFC 3339, or 2h for two hours ago")
	f.StringVar(&c.until, "until", "", "only letters buried until: RFC 3339, or 2h for two hours ago")
	f.BoolVar(&c.json, "json", false, "print a JSON object a line")
}

// filter reads the flags; none reports that no flag was set.
func (c *choice) filter(now time.Time) (f deadletter.Filter, none bool, err error) {
	f = deadletter.Filter{Lane: schema.Lane(c.lane), Reason: schema.Reason(c.reason), Recipient: c.recipient}
	if c.lane != "" {
		if err := f.Lane.Validate(); err != nil {
			return f, false, fmt.Errorf("--lane: %w", err)
		}
	}
	if c.reason != "" && !slices.Contains(schema.Reasons, f.Reason) {
		return f, false, fmt.Errorf("--reason: %q is none of %v", c.reason, schema.Reasons)
	}
	if f.Since, err = moment(c.since, now); err != nil {
		return f, false, fmt.Errorf("--since: %w", err)
	}
	if f.Until, err = moment(c.until, now); err != nil {
		return f, false, fmt.Errorf("--until: %w", err)
	}
	return f, f == deadletter.Filter{}, nil
}

// moment reads a time, or how long ago it was.
func moment(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time like 2030-01-02T15:04:05Z nor a duration like 2h", s)
	}
	return t, nil
}

func (a *app) deadList() *cobra.Command {
	c := &choice{}
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, a line each", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.listDead(cmd.Context(), c) },
	}
	c.flags(cmd)
	return cmd
}

func (a *app) listDead(ctx context.Context, c *choice) error {
	f, _, err := c.filter(time.Now())
	if err != nil {
		return err
	}
	yard, _, done, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	for l, err := range yard.All(ctx, f) {
		if err != nil {
			return &exitError{err, exitUnavailable}
		}
		if err := c.print(a.stdout, l); err != nil {
			return err
		}
	}
	return nil
}

// letterLine is a dead letter as JSON.
type letterLine struct {
	ID         string        `json:"id"`
	Origin     string        `json:"origin"`
	Lane       schema.Lane   `json:"lane"`
	Line       string        `json:"line"`
	Reason     schema.Reason `json:"reason"`
	Error      string        `json:"error"`
	At         time.Time     `json:"at"`
	Recipients []string      `json:"recipients"`
	Attempts   int           `json:"attempts"`
	Replays    int           `json:"replays"`
	Size       int           `json:"size"`
}

func (c *choice) print(out io.Writer, l *deadletter.Found) error {
	to := make([]string, len(l.Recipients))
	for i, r := range l.Recipients {
		to[i] = r.Address
	}
	if !c.json {
		shown := strings.Join(to, ",")
		if shown == "" {
			shown = "-"
		}
		_, err := fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", l.Line.ID, shown, l.Reason, l.Error, l.At.Local().Format(time.DateTime))
		return err
	}
	b, err := json.Marshal(letterLine{
		l.Line.ID, l.Line.Origin, l.Line.Lane, l.Line.Rcpt, l.Reason, l.Error, l.At, to, l.Attempts, l.Replays, len(l.Body),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, string(b))
	return err
}

func (a *app) deadReplay() *cobra.Command {
	c := &choice{}
	cmd := &cobra.Command{
		Use:   "replay {ID… | - | --reason … --recipient … --lane … --since … --until …}",
		Short: "Send dead letters again, to those recipients who are dead",
		Long: `Send dead letters again, to those recipients who are dead, with a fresh budget
of attempts. However often it is asked, a letter goes out once. Names letters by
id, by ids from standard input (-), or by flags. Exits with 1 where none matches.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c.ids = args
			return a.replayDead(cmd.Context(), c)
		},
	}
	c.flags(cmd)
	return cmd
}

func (a *app) replayDead(ctx context.Context, c *choice) error {
	f, none, err := c.filter(time.Now())
	switch {
	case err != nil:
		return err
	case len(c.ids) == 0 && none:
		return errors.New("name the letters to replay, by id or by a flag; mailq dead list shows them")
	case len(c.ids) > 0 && !none:
		return errors.New("name the letters by id or by flags, not both")
	}
	yard, op, done, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer done()
	r := &replayer{app: a, yard: yard, max: op.MaxReplays, json: c.json}
	if len(c.ids) == 0 {
		r.all(ctx, yard.All(ctx, f))
	}
	for id := range a.ids(c.ids) {
		before := r.matched
		r.all(ctx, yard.ByID(ctx, id))
		if r.matched == before && r.err == nil {
			fmt.Fprintf(a.stderr, "mailq: no dead letter %s\n", id)
		}
	}
	return r.result()
}

// ids are those of the arguments, "-" standing for the lines of stdin.
func (a *app) ids(args []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, id := range args {
			if id != "-" {
				if !yield(id) {
					return
				}
				continue
			}
			for s := bufio.NewScanner(a.stdin); s.Scan(); {
				// The lines of "dead list" begin with the id.
				id, _, _ := strings.Cut(strings.TrimSpace(s.Text()), "\t")
				if id != "" && !yield(id) {
					return
				}
			}
		}
	}
}

// replayer replays letters one after the other and keeps count.
type replayer struct {
	app     *app
	yard    *deadletter.Graveyard
	max     int
	json    bool
	matched int
	refused int
	err     error
}

func (r *replayer) all(ctx context.Context, letters iter.Seq2[*deadletter.Found, error]) {
	for l, err := range letters {
		if err != nil {
			r.err = errors.Join(r.err, err)
			continue
		}
		r.matched++
		r.one(ctx, l)
	}
}

func (r *replayer) one(ctx context.Context, l *deadletter.Found) {
	err := r.yard.Replay(ctx, l, r.max)
	switch {
	case errors.Is(err, deadletter.ErrSettled), errors.Is(err, deadletter.ErrTooOften):
		r.refused++
		fmt.Fprintln(r.app.stderr, "mailq:", err)
		return
	case err != nil:
		r.err = errors.Join(r.err, err)
		return
	}
	if r.json {
		b, err := json.Marshal(struct {
			ID    string      `json:"id"`
			Lane  schema.Lane `json:"lane"`
			Line  string      `json:"line"`
			Event string      `json:"event"`
		}{l.Line.ID, l.Line.Lane, l.Line.Rcpt, string(schema.EventReplayed)})
		if err != nil {
			r.err = errors.Join(r.err, err)
			return
		}
		fmt.Fprintln(r.app.stdout, string(b))
		return
	}
	to := make([]string, len(l.Recipients))
	for i, x := range l.Recipients {
		to[i] = x.Address
	}
	fmt.Fprintf(r.app.stdout, "replayed %s to %s\n", l.Line.ID, strings.Join(to, ", "))
}

func (r *replayer) result() error {
	switch {
	case r.err != nil:
		return &exitError{r.err, exitUnavailable}
	case r.matched == 0:
		return &exitError{errors.New("no dead letter matches"), exitNothing}
	case r.refused == r.matched:
		return &exitError{errors.New("nothing was replayed"), exitNothing}
	}
	return nil
}
