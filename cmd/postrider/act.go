package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/wire"
)

const (
	// manyLetters is how many get a bar and a sum on a terminal, not a line each.
	manyDead  = 20
	whichOnes = `Names dead letters by id or origin, by ids from standard input (-; lines of "dead
list", with --json too, will do), or by flags. Exits with 1 where an ID names none,
or no dead letter matches.`
)

func (a *app) deadReplay() *cobra.Command {
	return a.acting(&act{
		done: "replayed", event: wire.EventReplayed,
		do: func(ctx context.Context, p *post, l *deadletter.Found) error {
			return p.buried.Replay(ctx, l, p.op.MaxReplays)
		},
	}, &cobra.Command{
		Use:   "replay {ID… | - | --reason … --recipient … --lane … --since … --until …}",
		Short: "Send dead letters again, to those recipients who are dead",
		Long: `Send dead letters again, to those recipients who are dead, with a fresh budget
of attempts. However often it is asked, a dead letter goes out once. ` + "\n" + whichOnes,
		Example: `  postrider dead replay m1
  postrider dead replay --reason failed --recipient @example.net --dry-run
  postrider dead list | grep 5.7.1 | postrider dead replay -`,
	})
}

func (a *app) deadDiscard() *cobra.Command {
	return a.acting(&act{
		done: "discarded", event: wire.EventDiscarded, final: true,
		do: func(ctx context.Context, p *post, l *deadletter.Found) error { return p.buried.Discard(ctx, l) },
	}, &cobra.Command{
		Use:   "discard {ID… | - | --reason … --recipient … --lane … --since … --until …}",
		Short: "Give dead letters up, for good",
		Long: `Give dead letters up, for good: nobody will send them, and their text is gone.
The log keeps what happened. On a terminal it asks first. ` + "\n" + whichOnes,
		Example: `  postrider dead discard m1
  postrider dead discard --reason bad-envelope --until 720h --dry-run`,
	})
}

// act is what is done to dead letters.
type act struct {
	done  string
	event wire.Event
	// final: there is no way back, so a person is asked.
	final bool
	do    func(ctx context.Context, p *post, l *deadletter.Found) error
}

func (a *app) acting(x *act, cmd *cobra.Command) *cobra.Command {
	c := &choice{}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.ids = args
		return a.act(cmd.Context(), x, c)
	}
	c.flags(cmd)
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only say which dead letters it would be")
	if x.final {
		cmd.Flags().BoolVar(&c.yes, "yes", false, "do not ask")
	}
	return cmd
}

func (a *app) act(ctx context.Context, x *act, c *choice) error {
	f, none, err := c.filter(time.Now())
	switch {
	case err != nil:
		return err
	case len(c.ids) == 0 && none:
		return cli.Wrongf("ID is missing, or a flag that says which dead letters are to be %s", x.done)
	case len(c.ids) > 0 && !none:
		return cli.Wrongf("name the dead letters by ID or by flags, not both")
	}
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	// Read once: ids may come from standard input.
	ids, err := readIDs(a.stdin, c.ids)
	if err != nil {
		return cli.Fail(cli.Data, err)
	}
	w := &actor{app: a, act: x, post: p, choice: c, missing: map[string]bool{}}
	dead := func() iter.Seq2[*deadletter.Found, error] { return w.deadLetters(ctx, f, ids) }
	if err := w.prepare(dead()); err != nil {
		return err
	}
	for l, err := range dead() {
		if err != nil {
			w.err = errors.Join(w.err, err)
			continue
		}
		w.matched++
		w.one(ctx, l)
	}
	return w.result()
}

// readIDs returns the ids among the arguments; "-" stands for the lines of stdin.
func readIDs(stdin io.Reader, args []string) ([]string, error) {
	var all []string
	for _, id := range args {
		if id != "-" {
			all = append(all, id)
			continue
		}
		s := bufio.NewScanner(stdin)
		s.Buffer(nil, maxLine)
		for s.Scan() {
			if id := idIn(s.Text()); id != "" {
				all = append(all, id)
			}
		}
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("read ids from standard input, after %d of them: %w", len(all), err)
		}
	}
	return all, nil
}

// maxLine is longer than the line of a dead letter to a thousand recipients.
const maxLine = 1 << 20

// idIn finds the id in a line of "dead list", as text or JSON, or alone.
func idIn(line string) string {
	var object struct {
		ID string `json:"id"`
	}
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &object) == nil {
		return object.ID
	}
	id, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
	return id
}

// actor does one thing to dead letters one after the other, and keeps count.
type actor struct {
	*app
	*act
	*post
	*choice
	bar     *progress
	matched int
	refused int
	missing map[string]bool // ids without a dead letter, which has been said
	err     error
}

// dead letters are those that are named, or that the filter selects.
func (w *actor) deadLetters(ctx context.Context, f deadletter.Filter, ids []string) iter.Seq2[*deadletter.Found, error] {
	if len(w.ids) == 0 {
		return w.buried.All(ctx, f)
	}
	return func(yield func(*deadletter.Found, error) bool) {
		for _, id := range ids {
			found := false
			for l, err := range w.buried.ByID(ctx, id) {
				found = true
				if !yield(l, err) {
					return
				}
			}
			if !found && !w.missing[id] { // the dead letters may be read twice
				w.missing[id] = true
				fmt.Fprintf(w.stderr, "postrider: no dead letter matches %s; postrider dead list shows them\n", quote(id))
			}
		}
	}
}

// prepare counts the dead letters where a person looks on: for the bar, and to ask.
func (w *actor) prepare(dead iter.Seq2[*deadletter.Found, error]) error {
	ask := w.final && !w.yes && !w.dryRun && cli.IsTerminal(w.stdin) && cli.IsTerminal(w.stderr)
	if !ask && (!cli.IsTerminal(w.stderr) || !cli.IsTerminal(w.stdout)) {
		return nil
	}
	n := int64(0)
	for _, err := range dead {
		if err != nil {
			return failed(err)
		}
		n++
	}
	if ask && n > 0 {
		fmt.Fprintf(w.stderr, "%s will be %s, for good. Type yes to go on: ", mails(uint64(n)), w.done)
		s := bufio.NewScanner(w.stdin)
		if s.Scan(); strings.TrimSpace(s.Text()) != "yes" {
			return nothing("nothing was %s", w.done)
		}
	}
	if n > manyDead && !w.dryRun && !w.json && cli.IsTerminal(w.stdout) {
		bar := w.progress(n, w.done)
		w.bar = &bar
	}
	return nil
}

func (w *actor) one(ctx context.Context, l *deadletter.Found) {
	if !w.dryRun {
		err := w.do(ctx, w.post, l)
		if w.bar != nil {
			w.bar.step()
		}
		switch {
		case errors.Is(err, deadletter.ErrSettled), errors.Is(err, deadletter.ErrTooOften), errors.Is(err, deadletter.ErrReplaying):
			w.refused++
			fmt.Fprintln(w.stderr, "postrider:", err)
			return
		case err != nil:
			w.err = errors.Join(w.err, err)
			return
		}
	}
	if err := w.say(l); err != nil {
		w.err = errors.Join(w.err, err)
	}
}

// say prints what was done, or would be.
func (w *actor) say(l *deadletter.Found) error {
	if w.json {
		return writeJSON(w.stdout, struct {
			ID        string     `json:"id"`
			Lane      wire.Lane  `json:"lane"`
			Recipient string     `json:"recipient"`
			Event     wire.Event `json:"event"`
			DryRun    bool       `json:"dry_run,omitempty"`
		}{l.Key.ID, l.Key.Lane, l.Key.Recipient, w.event, w.dryRun})
	}
	if w.bar != nil {
		return nil
	}
	done := w.done
	if w.dryRun {
		done = "would be " + done + ":"
	}
	to := strings.Join(addresses(l), ", ")
	if to == "" {
		to = "nobody that can be read"
	}
	_, err := fmt.Fprintf(w.stdout, "%s %s to %s\n", done, l.Key.ID, to)
	return err
}

func (w *actor) result() error {
	if w.bar != nil {
		w.bar.end()
		fmt.Fprintf(w.stdout, "%s %s\n", w.done, mails(uint64(w.matched-w.refused)))
	}
	switch {
	case w.err != nil:
		return failed(w.err)
	case len(w.missing) > 0:
		return nothing("") // which ones has been said
	case len(w.ids) > 0 && w.matched == 0:
		return nothing("standard input names no dead letter")
	case w.matched == 0:
		return nothing("no dead letter matches")
	case w.refused == w.matched:
		return nothing("nothing was %s", w.done)
	}
	return nil
}
