// Package version is the version of a program.
package version

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
)

// stamp is set by the linker if Go does not know the version from the module or
// the repository: -X github.com/postrider/postrider/internal/version.stamp=v1.2.3.
var stamp string

// String is the version, like "v1.2.3": the linker's stamp, else what Go knows of
// the module or from the repository's tag, else "(devel)".
func String() string {
	info, _ := debug.ReadBuildInfo()
	return choose(stamp, info)
}

func choose(stamp string, info *debug.BuildInfo) string {
	known := ""
	if info != nil {
		known = info.Main.Version
	}
	return cmp.Or(stamp, known, "(devel)")
}

// Add adds --version and the command version to a program. Both print one line:
// "worker v1.2.3 go1.26.8 linux/amd64".
func Add(root *cobra.Command) {
	line := fmt.Sprintf("%s %s %s %s/%s\n", root.Name(), String(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	root.Version = String()
	root.SetVersionTemplate(line)
	root.AddCommand(&cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprint(cmd.OutOrStdout(), line)
			return err
		},
	})
}
