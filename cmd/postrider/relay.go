package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/relays"
	"github.com/postrider/postrider/smtp"
)

// relay is the command with those about the rules.
func relay(a *app) *cobra.Command {
	cmd := &cobra.Command{Use: "relay", Short: "Rules about what a relay's replies mean: check", Example: "  postrider relay check"}
	cmd.Args = cli.NoArgs // an unknown command is an error
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	cmd.AddCommand(relayCheck(a))
	return cmd
}

// ruleCheck is what relay check is asked.
type ruleCheck struct {
	*app

	file, reply, stage string
	json               bool
}

func relayCheck(a *app) *cobra.Command {
	q := &ruleCheck{app: a}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check the file of rules, or say what a reply of the relay would mean",
		Long: `Check the file of rules that POSTRIDER_RELAYS or --file names, and say how many it
has. With --reply, say which rule decides on that reply at that stage, or what
Postrider's own table makes of it: for a message to a relay that has accepted
others. It connects to nothing.

A file that is wrong is reported with line and column, and the status is then 78.`,
		Example: `  postrider relay check --file relays.yaml
  postrider relay check --reply "550 5.7.1 Daily limit reached" --stage dot`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := q.wrong(cmd); err != nil {
				return err
			}
			return q.run()
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.file, "file", "", "`FILE` of rules; without it that of POSTRIDER_RELAYS")
	f.StringVar(&q.reply, "reply", "", "`REPLY` of the relay, like \"550 5.7.1 words\"")
	f.StringVar(&q.stage, "stage", "", "`STAGE` at which the relay says it: "+list(smtp.RuleStages))
	f.BoolVar(&q.json, "json", false, "print a JSON object")
	return cmd
}

// wrong is what is wrong with the flags.
func (q *ruleCheck) wrong(cmd *cobra.Command) error {
	f := cmd.Flags()
	switch reply, stage := f.Changed("reply"), f.Changed("stage"); {
	case f.Changed("file") && q.file == "":
		return cli.Wrongf("--file: is empty")
	case stage && !slices.Contains(smtp.RuleStages, mail.Stage(q.stage)):
		return cli.Wrongf("--stage: %q is none of %s", q.stage, list(smtp.RuleStages))
	case stage && !reply:
		return cli.Wrongf("--stage: does nothing without --reply")
	case reply && !stage:
		return cli.Wrongf("--reply: add --stage, the step at which the relay says it: %s", list(smtp.RuleStages))
	case reply:
		if _, err := smtp.Explain(nil, mail.Stage(q.stage), q.reply); err != nil {
			return cli.Wrongf("--reply: %w", err)
		}
	}
	return nil
}

func (q *ruleCheck) run() error {
	name := "--file"
	if q.file == "" {
		q.file, _ = q.lookup("POSTRIDER_RELAYS")
		name = "POSTRIDER_RELAYS"
	}
	var rules []smtp.Rule
	switch {
	case q.file != "":
		f, wrong := relays.Read(name, q.file)
		if len(wrong) > 0 {
			return cli.Fail(cli.Config, errors.Join(wrong...))
		}
		rules = f.Rules
	case q.reply == "":
		return cli.Wrongf("no file of rules is set: set POSTRIDER_RELAYS, or name it with --file")
	}
	if q.reply == "" {
		return q.writeRules(len(rules))
	}
	x, err := smtp.Explain(rules, mail.Stage(q.stage), q.reply)
	if err != nil {
		return cli.Wrongf("--reply: %w", err)
	}
	return q.writeExplained(x)
}

func (q *ruleCheck) writeRules(n int) error {
	if q.json {
		return writeJSON(q.stdout, struct {
			File  string `json:"file"`
			Rules int    `json:"rules"`
		}{q.file, n})
	}
	_, err := fmt.Fprintf(q.stdout, "%s: %s, nothing is wrong\n", q.file, queue.Counted(uint64(n), "rule"))
	return err
}

// explained is what --json prints of a reply.
type explained struct {
	File string `json:"file,omitzero"`
	// Line is that of the rule; 0 means that no rule matches.
	Line    int              `json:"line,omitzero"`
	Rule    smtp.RuleOutcome `json:"rule,omitzero"`
	Text    string           `json:"text,omitzero"`
	Note    string           `json:"note,omitzero"`
	Outcome string           `json:"outcome"`
}

func (q *ruleCheck) writeExplained(x smtp.Explained) error {
	e := explained{File: q.file, Outcome: x.Outcome}
	if x.Rule != nil {
		e.Line, e.Rule, e.Note = x.Rule.Line, x.Rule.Outcome, x.Rule.Note
	}
	if x.Rule != nil && x.Rule.Text != nil {
		e.Text = strings.TrimPrefix(x.Rule.Text.String(), "(?i)")
	}
	if q.json {
		return writeJSON(q.stdout, e)
	}
	said := "no rule matches; the reply table: " + e.Outcome
	if e.File == "" {
		said = "no file of rules is set (POSTRIDER_RELAYS, --file); the reply table: " + e.Outcome
	}
	if x.Rule != nil {
		said = fmt.Sprintf("%s: the rule in line %d", e.File, e.Line)
		if e.Text != "" {
			said += fmt.Sprintf(", text %q", e.Text)
		}
		if said += ": " + e.Outcome; e.Note != "" {
			said += " (" + e.Note + ")"
		}
	}
	_, err := fmt.Fprintln(q.stdout, said)
	return err
}
