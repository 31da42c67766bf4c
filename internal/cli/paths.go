package cli

import (
	"strings"

	"github.com/spf13/cobra"
)

// fillPaths replaces {path} in the help texts of a command and its subcommands
// with how that command is called, and {program} with the program's name: a
// command does not know the program of which it is a part.
func fillPaths(cmd *cobra.Command) {
	r := strings.NewReplacer("{path}", cmd.CommandPath(), "{program}", cmd.Root().Name())
	cmd.Short, cmd.Long, cmd.Example = r.Replace(cmd.Short), r.Replace(cmd.Long), r.Replace(cmd.Example)
	for _, sub := range cmd.Commands() {
		fillPaths(sub)
	}
}
