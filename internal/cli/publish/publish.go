// Package publish is the command publish, which puts mail into the queue, and the
// command schema. Every program that has them makes them here.
package publish

import (
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/schema"
)

// command is what publish and its subcommand share.
type command struct {
	path   string
	lookup env.Lookup
	now    func() time.Time
}

// Command is publish with its subcommand eml. path is how people type it,
// "publish" or "postrider publish": the examples of the help use it. The settings
// of the connection come from lookup.
func Command(path string, lookup env.Lookup) *cobra.Command {
	c := &command{path: path, lookup: lookup, now: time.Now}
	cmd := c.mail()
	cmd.AddCommand(c.eml())
	return cmd
}

// Schema is the command that prints the JSON Schema of the envelope.
func Schema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the envelope",
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := io.WriteString(cmd.OutOrStdout(), schema.JSONSchema())
			return err
		},
	}
}

// examples are lines of the help with the command's path in place of PUBLISH, and with
// that of schema, which is beside it or, in a program of its own, below it.
func (c *command) examples(lines string) string {
	schema := "publish schema"
	if parent, _, ok := strings.Cut(c.path, " "); ok {
		schema = parent + " schema"
	}
	return strings.NewReplacer("PUBLISH", c.path, "SCHEMA", schema).Replace(lines)
}
