package cli

import (
	"errors"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// NoArgs is for a command that takes no arguments.
func NoArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasAvailableSubCommands():
		return Wrongf("unknown command %q for %s", args[0], cmd.CommandPath())
	}
	return Wrongf("unexpected argument %q", args[0])
}

// One is for a command that takes one argument of that name.
func One(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return Wrongf("%s is missing", name)
		}
		return OneAtMost(name)(cmd, args)
	}
}

// OneAtMost is for a command that may have an argument of that name.
func OneAtMost(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case len(args) > 1:
			return Wrongf("unexpected argument %q", args[1])
		case args[0] == "":
			return Wrongf("%s is empty", name)
		}
		return nil
	}
}

// Some is for a command that takes one or more arguments of that name.
func Some(name string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return Wrongf("%s is missing", name)
		}
		return nil
	}
}

// OneOf refuses flags that exclude each other.
func OneOf(cmd *cobra.Command, a, b string) error {
	if cmd.Flags().Changed(a) && cmd.Flags().Changed(b) {
		return Wrongf("--%s, --%s: give one of them", a, b)
	}
	return nil
}

// kinds are what values a flag takes, by its type.
var kinds = map[string]string{"bool": "true or false", "int": "a whole number", "duration": "a duration like 2h or 3d"}

// flagError says what is wrong with a flag in our words.
func flagError(_ *cobra.Command, err error) error {
	if e, ok := errors.AsType[*pflag.NotExistError](err); ok {
		dashes := "--"
		if e.GetSpecifiedShortnames() != "" {
			dashes = "-"
		}
		return Wrongf("unknown flag %s%s, --help lists them", dashes, e.GetSpecifiedName())
	}
	if e, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		return Wrongf("--%s: its value is missing", e.GetFlag().Name)
	}
	if e, ok := errors.AsType[*pflag.InvalidValueError](err); ok && kinds[e.GetFlag().Value.Type()] != "" {
		return Wrongf("--%s: %q is not %s", e.GetFlag().Name, e.GetValue(), kinds[e.GetFlag().Value.Type()])
	}
	return Fail(Usage, err)
}
