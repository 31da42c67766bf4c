package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/doctor"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/wire"
)

// Exit statuses of the doctor, where it could look.
const (
	exitWarnings = 1
	exitProblems = 2
)

func (a *app) doctor() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what is wrong with the mail system, and say what to do",
		Long: `Look for what is wrong with the mail system, and say what to do: broker, streams
and consumers, whether somebody takes mail, room, mail that nobody would send,
dead letters, clocks, and the relay, by one session up to AUTH and without mail.
Nothing is changed.

Settings are the worker's, from the environment: run it with those of a worker,
SMTP_URL included. Without POSTRIDER_LANES it looks at the lanes that are there, without
POSTRIDER_ACK_WAIT any is right, without SMTP_URL no relay is looked at.

The status is 0 where nothing is wrong, 1 with warnings, 2 with problems; 75 or
69 where the broker cannot be reached or read, and 78 where NATS_ variables are
wrong.`,
		Example: "  postrider doctor\n  postrider doctor --json",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.examine(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line, a finding each")
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
		return failed(unusable)
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
	x.Lanes = lanes.Lanes.Names()
	return x
}

func (a *app) writeFindings(all []doctor.Finding, asJSON bool) error {
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
func writeFindings(out io.Writer, p paint, all []doctor.Finding) error {
	wide := 0
	for _, f := range all {
		wide = max(wide, len(f.Check))
	}
	const level = len(doctor.Problem)
	indent := "\n" + strings.Repeat(" ", level+wide+4)
	var b strings.Builder
	for _, f := range all {
		said := strings.ReplaceAll(f.At+": "+f.Found, "\n", indent)
		fmt.Fprintf(&b, "%s  %-*s  %s\n", p.level(f.Level, fmt.Sprintf("%-*s", level, f.Level)), wide, f.Check, said)
		if f.Do != "" {
			b.WriteString(indent[1:] + p.bold("do: ") + f.Do + "\n")
		}
	}
	if doctor.Worst(all) == doctor.OK || doctor.Worst(all) == doctor.Note {
		b.WriteString("\n" + p.green("Nothing is wrong.") + "\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// level colours words of that level.
func (p paint) level(l doctor.Level, s string) string {
	switch l {
	case doctor.Problem:
		return p.red(s)
	case doctor.Warning:
		return p.yellow(s)
	case doctor.OK:
		return p.green(s)
	}
	return p.dim(s)
}

// verdict is how the command ends.
func verdict(all []doctor.Finding) error {
	count := map[doctor.Level]int{}
	for _, f := range all {
		count[f.Level]++
	}
	said := errors.New(plural(count[doctor.Problem], "problem") + ", " + plural(count[doctor.Warning], "warning"))
	switch doctor.Worst(all) {
	case doctor.Problem:
		return cli.Fail(exitProblems, said)
	case doctor.Warning:
		return cli.Fail(exitWarnings, said)
	}
	return nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
