package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// Run runs the program of that root and gives its exit status. Errors are
// written to stderr, each line with the program's name; those of wrong use say
// how the command is called.
func Run(ctx context.Context, root *cobra.Command, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	fillPaths(root)
	root.SetHelpCommand(help())
	root.SetFlagErrorFunc(flagError)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || err.Error() == "" {
		return Status(err)
	}
	said := err.Error()
	if Status(err) == Usage {
		said = strings.ReplaceAll(said, "\n", " ") + "; usage: " + usage(cmd)
	}
	for line := range strings.SplitSeq(said, "\n") {
		fmt.Fprintf(stderr, "%s: %s\n", root.Name(), line)
	}
	return Status(err)
}

// usage is how a command is called, in a line.
func usage(cmd *cobra.Command) string {
	if cmd.Use != cmd.Name() || !cmd.HasAvailableSubCommands() {
		return cmd.UseLine()
	}
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return cmd.CommandPath() + " [" + strings.Join(names, " | ") + "] [flags]"
}

// help is cobra's, and an error if there is no such command.
func help() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Say what a command does, as --help does",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return Wrongf("unknown command %q for %s", strings.Join(args, " "), cmd.Root().Name())
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}
