package cli

import (
	"os"

	"golang.org/x/term"
)

// IsTerminal reports that a person sits at the other end of a stream.
func IsTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
