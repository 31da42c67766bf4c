package main

import (
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
)

// completion writes what a shell needs to complete commands and flags.
func completion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion {bash | zsh | fish | powershell}",
		Short: "Write the completion script of a shell",
		Example: `  source <(postrider completion bash)
  postrider completion zsh > "${fpath[1]}/_postrider"`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      cli.One("SHELL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root, out := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(out, true)
			case "zsh":
				return root.GenZshCompletion(out)
			case "fish":
				return root.GenFishCompletion(out, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(out)
			}
			return cli.Wrongf("unknown shell %q: bash, zsh, fish or powershell", args[0])
		},
	}
}
