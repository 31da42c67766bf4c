package worker

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
)

// Config is the command that prints the settings in force.
func Config(environ []string, stdout io.Writer) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Print the settings in force, where each comes from, and no secret",
		Long: `Print the settings that a worker would use if it started here and now, and where
each value comes from: default, environment, or the file that NAME_FILE names. Of
a secret only whether it is set is printed. The format markdown lists all
variables with their defaults; docs/configuration.md is generated with it. Problems
are reported as at a start, and the exit status is then 78.`,
		Example: "  {path}\n  SMTP_MAX_SESSIONS=20 {path} --format json",
		Args:    cli.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return printConfig(environ, format, stdout)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text, json (an object a line) or markdown")
	return cmd
}

func printConfig(environ []string, format string, out io.Writer) error {
	if format == "markdown" {
		s, _ := app.ReadSettings(nil)
		_, err := io.WriteString(out, markdown(s))
		return err
	}
	if format != "text" && format != "json" {
		return cli.Wrongf("--format: %q is not text, json or markdown", format)
	}
	s, errs := app.ReadSettings(environ)
	for _, g := range s.Groups() {
		for _, v := range env.List(env.Of(environ), g.Targets...) {
			if err := printSetting(out, format, v); err != nil {
				return err
			}
		}
	}
	if err := s.CheckRelay(); err != nil {
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

// markdown is docs/configuration.md.
func markdown(s *app.Settings) string {
	var b strings.Builder
	b.WriteString(`# Configuration

The worker's settings come from the environment. An empty variable counts as
not set. Every problem is reported at once, by the variable's name, and the
worker then ends with status 78. A secret can be given as a file: ` + "`NAME_FILE`" + `
instead of ` + "`NAME`" + `. Files of secrets and certificates are read again whenever they are used,
and at SIGHUP ([operations.md](operations.md#change-a-setting-or-a-password)). ` + "`postrider config`" + ` prints what is in force, and where it comes from.

Names begin with ` + "`NATS_`" + `, ` + "`SMTP_`" + ` (the relay) or ` + "`POSTRIDER_`" + `. An unknown variable with one
of these prefixes is an error for ` + "`worker`" + `, ` + "`config`" + `, ` + "`provision`" + ` and ` + "`devrelay`" + `; the other
commands only warn. It names the nearest known one, if one is near. What Kubernetes sets for services is ignored
(` + "`*_SERVICE_HOST`" + `, ` + "`*_SERVICE_PORT*`" + `, ` + "`*_PORT`" + `, ` + "`*_PORT_*`" + `).

A duration is a number with a unit: ` + "`ms`" + `, ` + "`s`" + `, ` + "`m`" + `, ` + "`h`" + ` or ` + "`d`" + ` (24 hours), also
together, like ` + "`1d12h`" + `.

` + "`publish`" + ` and ` + "`postrider`" + ` read the same ` + "`NATS_…`" + ` variables and ` + "`POSTRIDER_DATA_DIR`" + `;
` + "`postrider`" + ` also ` + "`POSTRIDER_MAX_REPLAYS`" + ` (5), how often one dead letter may be replayed,
and ` + "`NO_COLOR`" + `. ` + "`postrider doctor`" + ` reads the relay's variables, ` + "`POSTRIDER_LANES`" + ` and
` + "`POSTRIDER_ACK_WAIT`" + ` as a worker does.

This page is generated from the code: ` + "`go run ./cmd/worker config --format markdown > docs/configuration.md`" + `.
`)
	for _, g := range s.Groups() {
		fmt.Fprintf(&b, "\n## %s\n\n| variable | default | |\n| --- | --- | --- |\n", g.Title)
		for _, v := range env.List(env.Of(nil), g.Targets...) {
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
