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

// Width is how many characters a line of the terminal has; 0 if the stream is none.
func Width(stream any) int {
	if !IsTerminal(stream) {
		return 0
	}
	if width, _, err := term.GetSize(int(stream.(*os.File).Fd())); err == nil && width > 0 {
		return width
	}
	return 80
}
