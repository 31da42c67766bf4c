package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/version"
)

// man writes the man pages, for those who package the program.
func man() *cobra.Command {
	return &cobra.Command{
		Use:    "man DIR",
		Short:  "Write the man pages of all commands into a directory",
		Hidden: true,
		Long: `Write the man pages of all commands into DIR, which is made if it is missing. If
SOURCE_DATE_EPOCH is set, their date is that.`,
		Example: "  postrider man /usr/local/share/man/man1",
		Args:    cli.One("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if s := os.Getenv("SOURCE_DATE_EPOCH"); s != "" {
				if _, err := strconv.ParseInt(s, 10, 64); err != nil {
					return cli.Failf(cli.Config, "SOURCE_DATE_EPOCH: %q is not a number of seconds", s)
				}
			}
			if err := os.MkdirAll(args[0], 0o755); err != nil { //nolint:gosec // everybody reads man pages
				return fmt.Errorf("make the directory of the man pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			forMan(root)
			header := &doc.GenManHeader{Section: "1", Source: "postrider " + version.String(), Manual: "Postrider"}
			if err := doc.GenManTree(root, header, args[0]); err != nil {
				return fmt.Errorf("write man pages: %w", err)
			}
			return nil
		},
	}
}

// forMan makes of the indented lines in the help of a command and its subcommands
// what Markdown, of which the pages are made, takes for text to be kept as it is. In
// "Name <a@b>" of a flag it would see a link.
func forMan(cmd *cobra.Command) {
	var b strings.Builder
	kept := false
	for line := range strings.Lines(cmd.Long) {
		if indented := strings.HasPrefix(line, "  "); indented != kept && strings.TrimSpace(line) != "" {
			b.WriteString("```\n")
			kept = indented
		}
		b.WriteString(line)
	}
	if kept {
		b.WriteString("\n```")
	}
	cmd.Long = b.String()
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "<", `\<`) })
	for _, sub := range cmd.Commands() {
		forMan(sub)
	}
}
