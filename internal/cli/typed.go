package cli

import (
	"os"
	"path/filepath"
	"strings"
)

// Typed is what to type here to start a program of ours. It goes by how this one
// was started: by its path or by "go run".
func Typed(name string) string {
	self, err := os.Executable()
	return typedAs(self, err, os.Args[0], name)
}

func typedAs(self string, err error, arg0, name string) string {
	const sep = string(filepath.Separator)
	if err != nil || strings.Contains(self, sep+"go-build") {
		return "go run ./cmd/" + name
	}
	return arg0[:strings.LastIndex(arg0, sep)+1] + name // without a directory it is found by PATH
}
