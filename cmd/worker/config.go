package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
)

// configCommand prints what a worker started here and now would go by.
func configCommand(lookup env.Lookup, stdout io.Writer) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force, where each comes from, and no secret",
		Long: `Print the settings that a worker started here and now would go by, where each
value comes from (default, environment, or the file that NAME_FILE names), and
no secret: only whether it is set. The form markdown lists all variables with
their defaults; docs/configuration.md is made with it. Problems are reported as
at a start, and the status is then 78.`,
		Example: "  worker config\n  SMTP_MAX_SESSIONS=20 worker config --format json",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return printConfig(cmd.Context(), lookup, format, stdout)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json (an object a line) or markdown")
	return cmd
}

func printConfig(ctx context.Context, lookup env.Lookup, format string, out io.Writer) error {
	if format == "markdown" {
		s, _ := readSettings(ctx, func(string) (string, bool) { return "", false })
		_, err := io.WriteString(out, markdown(s))
		return err
	}
	if format != "text" && format != "json" {
		return cli.Wrongf("--format: %q is not text, json or markdown", format)
	}
	s, errs := readSettings(ctx, lookup)
	for _, room := range s.rooms() {
		for _, v := range env.List(lookup, room.targets...) {
			if err := printSetting(out, format, v); err != nil {
				return err
			}
		}
	}
	if err := s.checkRelay(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return cli.Fail(cli.Config, errors.Join(errs...))
	}
	return nil
}

func printSetting(out io.Writer, format string, v env.Setting) error {
	if format == "json" {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("write %s: %w", v.Name, err)
		}
		_, err = fmt.Fprintln(out, string(b))
		return err
	}
	value := v.Value
	if value == "" {
		value = "-"
	}
	_, err := fmt.Fprintf(out, "%-28s %-40s %s\n", v.Name, value, v.Source)
	return err
}

// room is a heading of the list, and the structs that hold its settings.
type room struct {
	title   string
	targets []any
}

func (s *settings) rooms() []room {
	return []room{
		{"The broker", []any{&s.broker}},
		{"The relay", []any{&s.smtp, &s.smtp.Timeouts}},
		{"Taking mail and giving up", []any{&s.consumer, &s.settle}},
		{"The process", []any{&s.worker}},
	}
}

// markdown is docs/configuration.md.
func markdown(s *settings) string {
	var b strings.Builder
	b.WriteString(`# Configuration

The worker's settings come from the environment alone. An empty variable is one
that is not set. Every problem is reported at once, by the variable's name, and
the worker then ends with status 78. A secret can be given as a file: ` + "`NAME_FILE`" + `
instead of ` + "`NAME`" + `. ` + "`worker config`" + ` prints what is in force.

` + "`publish`" + ` and ` + "`mailq`" + ` read the same ` + "`NATS_…`" + ` variables and ` + "`POSTRIDER_DATA_DIR`" + `; ` + "`mailq`" + ` also
` + "`POSTRIDER_MAX_REPLAYS`" + ` (5), how often one dead letter may be replayed, and ` + "`NO_COLOR`" + `.
` + "`mailq doctor`" + ` reads those of the relay, ` + "`POSTRIDER_LANES`" + ` and ` + "`POSTRIDER_ACK_WAIT`" + ` as a worker does.

This page is made from the code: ` + "`go run ./cmd/worker config --format markdown > docs/configuration.md`" + `.
`)
	none := func(string) (string, bool) { return "", false }
	for _, r := range s.rooms() {
		fmt.Fprintf(&b, "\n## %s\n\n| variable | default | |\n| --- | --- | --- |\n", r.title)
		for _, v := range env.List(none, r.targets...) {
			value := ""
			if v.Value != "" {
				value = "`" + v.Value + "`"
			}
			name := "`" + v.Name + "`"
			if v.Secret {
				name += ", `" + v.Name + "_FILE`"
			}
			fmt.Fprintf(&b, "| %s | %s | %s |\n", name, value, strings.ReplaceAll(v.Help, "|", "\\|"))
		}
	}
	return b.String()
}
