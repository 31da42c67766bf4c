package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/doctor"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/queue"
)

func (a *app) status() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the state of every lane, and what is wrong",
		Long: `Show the state of every lane, and what is wrong. Settings such as NATS_URL come
from the environment; without them it asks the worker on this machine.

  waiting    published, and not taken by a worker yet
  due        scheduled for a time that has come, and not taken by a worker yet
  in flight  taken by a worker, or given back for a pause, and not settled yet
  scheduled  to be tried later: deferred mail, and mail with a send_at
  dead       failed for good: postrider dead list
  oldest     how long the oldest message has been ready to be sent
  rate       messages settled per second (delivered, deferred or dead-lettered),
             over the last minute or since the first of them in that minute;
             none if mail is ready and nothing was settled for five seconds, or
             if its relay is down
  empty in   how long it takes at that rate to settle everything that is ready

Below the lanes are the workers, and the findings of postrider doctor about lanes,
workers and their relays, the store and the dead letters, if something has to be done.`,
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
	s, err := p.queue.Status(ctx)
	if err != nil {
		return failed(err, a.own)
	}
	wrong := slices.DeleteFunc(append(doctor.Damage(p.Own()), doctor.Fit(s.Judge(), p.Embedded())...), func(f queue.Finding) bool { return !f.Wrong() })
	if asJSON {
		return writeJSON(a.stdout, struct {
			*queue.Status

			Wrong []queue.Finding `json:"wrong"`
		}{s, wrong})
	}
	return writeStatus(a.stdout, a.paint(), s, wrong)
}

func writeStatus(out io.Writer, p paint, s *queue.Status, wrong []queue.Finding) error {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\twaiting\tdue\tin flight\tscheduled\tdead\toldest\trate\tempty in\t")
	for i := range s.Lanes {
		fmt.Fprintln(w, row(&s.Lanes[i], s.At))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	// Lines are coloured as a whole: the codes would count as the width of a column.
	head, lanes, _ := strings.Cut(b.String(), "\n")
	b.Reset()
	b.WriteString(p.bold(strings.TrimRight(head, " ")) + "\n")
	i := 0
	for line := range strings.Lines(lanes) {
		b.WriteString(p.lane(&s.Lanes[i], wrong, strings.TrimRight(line, " \n")) + "\n")
		i++
	}
	b.WriteString("\nworkers: " + s.Workers.Words(s.Lanes, s.At) + "\n\n")
	if _, err := io.WriteString(out, b.String()); err != nil {
		return err
	}
	return writeFindings(out, p, wrong)
}

// row is the line of a lane, with tabs.
func row(l *queue.Lane, now time.Time) string {
	oldest, rate, empty := "-", "-", "-"
	if !l.Oldest.IsZero() {
		oldest = queue.Span(now.Sub(l.Oldest))
	}
	if l.Rate > 0 {
		rate = fmt.Sprintf("%.1f/s", l.Rate)
	}
	if !l.Empty.IsZero() {
		empty = queue.Span(max(l.Empty.Sub(now), time.Second))
	}
	cells := []string{string(l.Lane)}
	for _, n := range []uint64{l.Waiting, l.Due, l.InFlight, l.Scheduled, l.Dead} {
		cells = append(cells, queue.Thousands(n))
	}
	return strings.Join(append(cells, oldest, rate, empty, ""), "\t")
}

// lane colours the line of a lane.
func (p paint) lane(l *queue.Lane, wrong []queue.Finding, line string) string {
	switch i := slices.IndexFunc(wrong, func(f queue.Finding) bool { return f.Check == queue.CheckMail && f.At == string(l.Lane) }); {
	case i >= 0:
		return p.level(wrong[i].Level, line)
	case l.Stands():
		return p.red(line)
	case l.Dead > 0:
		return p.yellow(line)
	case l.Ready()+l.Scheduled == 0:
		return p.dim(line)
	}
	return line
}
