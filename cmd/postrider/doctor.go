package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/doctor"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/relays"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/wire"
)

// Exit statuses of doctor, if it could examine.
const (
	exitWarnings = 1
	exitProblems = 2
)

func (a *app) doctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong with the mail system, and what to do",
		Long: `Find what is wrong with the mail system, and what to do: broker, streams and
consumers, whether workers take mail, room, mail that no worker would get, dead
letters, clocks, and the relay, by one session up to AUTH and without mail. It
changes nothing.

It reads a worker's settings from the environment: run it with those of a worker,
SMTP_URL included. Without POSTRIDER_LANES it examines the lanes that exist, without
POSTRIDER_ACK_WAIT it accepts any, without SMTP_URL it examines no relay.

The status is 0 if nothing is wrong, 1 for warnings, 2 for problems; 75 or 69 if the
broker cannot be reached or read, 77 if it refuses the credentials, and 78 if NATS_
variables are wrong.`,
		Example: "  postrider doctor\n  postrider doctor --json",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.examine(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print each finding as a JSON object, one a line")
	return cmd
}

func (a *app) examine(ctx context.Context, asJSON bool) error {
	patient := a.patient()
	p, away := a.connect(ctx)
	if away == nil {
		defer p.Close()
		patient.Conn, patient.Queue = p.Conn, p.queue
	}
	patient.Away = away
	all, unusable := doctor.Examine(ctx, patient)
	if err := a.writeFindings(all, asJSON); err != nil {
		return err
	}
	switch {
	case away != nil:
		return away
	case unusable != nil:
		return failed(unusable, a.own)
	}
	return verdict(all)
}

// patient is what a worker with this environment would use.
func (a *app) patient() *doctor.Patient {
	x := &doctor.Patient{Broker: broker.DefaultConfig(), Relay: smtp.DefaultConfig()}
	env.Read(a.lookup, &x.Broker) // connect says what is wrong with it
	if wait, _ := a.lookup("POSTRIDER_ACK_WAIT"); wait == "" {
		x.Broker.AckWait = 0
	}
	var lanes struct {
		Lanes wire.Lanes `env:"POSTRIDER_LANES"`
	}
	x.Faults = env.Read(a.lookup, &lanes, &x.Relay.Timeouts, &x.Relay)
	x.RulesFaults = env.Read(a.lookup, &relays.Config{})
	x.Lanes = lanes.Lanes.Names()
	return x
}

func (a *app) writeFindings(all []queue.Finding, asJSON bool) error {
	if !asJSON {
		return writeFindings(a.stdout, a.paint(), all)
	}
	for _, f := range all {
		if err := writeJSON(a.stdout, f); err != nil {
			return err
		}
	}
	return nil
}

// writeFindings writes them in columns, and below each what to do.
func writeFindings(out io.Writer, p paint, all []queue.Finding) error {
	wide := 0
	for _, f := range all {
		wide = max(wide, len(f.Check))
	}
	const level = len(queue.Problem)
	indent := "\n" + strings.Repeat(" ", level+wide+4)
	var b strings.Builder
	for _, f := range all {
		said := strings.ReplaceAll(f.At+": "+f.Found, "\n", indent)
		fmt.Fprintf(&b, "%s  %-*s  %s\n", p.level(f.Level, fmt.Sprintf("%-*s", level, f.Level)), wide, f.Check, said)
		if f.Do != "" {
			b.WriteString(indent[1:] + p.bold("do: ") + f.Do + "\n")
		}
	}
	if !slices.ContainsFunc(all, queue.Finding.Wrong) {
		if len(all) > 0 {
			b.WriteString("\n")
		}
		b.WriteString(p.green("Nothing is wrong.") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// level colours words of that level.
func (p paint) level(l queue.Level, s string) string {
	switch l {
	case queue.Problem:
		return p.red(s)
	case queue.Warning:
		return p.yellow(s)
	case queue.OK:
		return p.green(s)
	}
	return p.dim(s)
}

// verdict is how the command ends.
func verdict(all []queue.Finding) error {
	count := map[queue.Level]uint64{}
	for _, f := range all {
		count[f.Level]++
	}
	said := queue.Counted(count[queue.Problem], "problem") + ", " + queue.Counted(count[queue.Warning], "warning")
	switch {
	case count[queue.Problem] > 0:
		return cli.Failf(exitProblems, "%s", said)
	case count[queue.Warning] > 0:
		return cli.Failf(exitWarnings, "%s", said)
	}
	return nil
}
