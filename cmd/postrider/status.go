package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/doctor"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/queue"
)

func (a *app) status() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how every lane stands, and what is wrong",
		Long: `Show how every lane stands, and what is wrong. Settings such as NATS_URL come from
the environment; without them it asks the worker on this machine.

  waiting    published, and not taken by a worker yet
  due        its time has come, and not taken by a worker yet
  in flight  taken by a worker, and not settled yet
  scheduled  to be tried later: deferred mail, and mail with a send_at
  dead       failed for good: postrider dead list
  oldest     how long the oldest mail has been ready to be sent
  rate       messages settled a second (delivered, deferred or dead-lettered) in
             the last minute, or since something began to move in it
  empty in   when everything ready will be settled at that rate`,
		Example: "  postrider status\n  postrider status --json",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.printStatus(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object")
	return cmd
}

func (a *app) printStatus(ctx context.Context, asJSON bool) error {
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	g, err := p.queue.Status(ctx)
	if err != nil {
		return failed(err)
	}
	wrong := wrongs(g)
	if asJSON {
		return writeJSON(a.stdout, struct {
			*queue.Status
			Wrong []string `json:"wrong"`
		}{g, wrong})
	}
	return writeStatus(a.stdout, a.paint(), g, wrong)
}

// wrongs says what is wrong, and what to do.
func wrongs(g *queue.Status) []string {
	var all []string
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(g.Lanes) == 0 {
		say("the broker has no lanes: the first worker makes them when it starts, or NATS_URL names another broker")
	}
	for i := range g.Lanes {
		l := &g.Lanes[i]
		age := g.At.Sub(l.Oldest)
		switch {
		case l.Ready() == 0:
		case l.Rate == 0 && age > doctor.StuckAfter:
			say("%s: %s ready for %s, and nothing was settled within the last minute: no worker runs, or its relay is down or holds them up. Look at the log of the workers", l.Lane, mails(l.Ready()), short(age))
		case l.Rate > 0 && age > doctor.BehindAfter:
			say("%s: behind: the oldest mail has been ready for %s. More workers or a higher SMTP_MAX_SESSIONS help, if the relay allows them", l.Lane, short(age))
		}
	}
	if g.Limit > 0 {
		switch full := float64(g.Used) / float64(g.Limit); {
		case full >= broker.RoomForDue:
			say("the store is %.0f %% full: each worker takes mail one at a time from each lane until there is room. Make room on the broker's disk", 100*full)
		case full >= broker.RoomForFresh:
			say("the store is %.0f %% full: each worker takes fresh mail one at a time from each lane until there is room. Make room on the broker's disk", 100*full)
		}
	}
	if g.Died > 0 {
		say("%s died within the last hour: postrider dead list --since 1h", mails(g.Died))
	}
	return all
}

func mails(n uint64) string {
	if n == 1 {
		return "1 mail"
	}
	return thousands(n) + " mails"
}

func writeStatus(out io.Writer, p paint, g *queue.Status, wrong []string) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\twaiting\tdue\tin flight\tscheduled\tdead\toldest\trate\tempty in\t")
	for i := range g.Lanes {
		l := &g.Lanes[i]
		oldest, rate, empty := "-", "-", "-"
		if !l.Oldest.IsZero() {
			oldest = short(g.At.Sub(l.Oldest))
		}
		if l.Rate > 0 {
			rate = fmt.Sprintf("%.1f/s", l.Rate)
		}
		if !l.Empty.IsZero() {
			empty = short(max(l.Empty.Sub(g.At), time.Second))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", l.Lane, thousands(l.Waiting), thousands(l.Due),
			thousands(l.InFlight), thousands(l.Scheduled), thousands(l.Dead), oldest, rate, empty)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// Lines are coloured whole: a column would lose its width.
	lines := strings.SplitAfter(b.String(), "\n")
	b.Reset()
	for i, line := range lines {
		text, end := strings.TrimRight(line, " \n"), ""
		if strings.HasSuffix(line, "\n") {
			end = "\n"
		}
		switch {
		case i == 0:
			text = p.bold(text)
		case i <= len(g.Lanes) && stuck(wrong, g.Lanes[i-1]):
			text = p.red(text)
		case i <= len(g.Lanes) && g.Lanes[i-1].Dead > 0:
			text = p.yellow(text)
		case i <= len(g.Lanes) && g.Lanes[i-1].Ready()+g.Lanes[i-1].Scheduled == 0:
			text = p.dim(text)
		}
		b.WriteString(text + end)
	}
	if len(wrong) == 0 {
		b.WriteString("\n" + p.green("Nothing is wrong.") + "\n")
	}
	for i, s := range wrong {
		if i == 0 {
			b.WriteString("\n")
		}
		b.WriteString(p.red("! ") + s + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func stuck(wrong []string, l queue.Lane) bool {
	for _, s := range wrong {
		if strings.HasPrefix(s, string(l.Lane)+": ") {
			return true
		}
	}
	return false
}
