package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/internal/cli"
)

// maxLine is longer than the line of a dead letter to a thousand recipients.
const maxLine = 1 << 20

// readIDs returns the ids among the arguments; "-" stands for the lines of stdin.
func readIDs(ctx context.Context, stdin io.Reader, args []string) ([]string, error) {
	var all []string
	for _, id := range args {
		if id != "-" {
			all = append(all, id)
			continue
		}
		s := bufio.NewScanner(cli.Interruptible(ctx, stdin))
		s.Buffer(nil, maxLine)
		for s.Scan() {
			if id := idIn(s.Text()); id != "" {
				all = append(all, id)
			}
		}
		if err := s.Err(); err != nil {
			return nil, fmt.Errorf("read ids from standard input, after %d of them: %w", len(all), err)
		}
	}
	return all, nil
}

// idIn finds the id in a line of "dead list", as text or JSON, or alone.
func idIn(line string) string {
	var object struct {
		ID string `json:"id"`
	}
	if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &object) == nil {
		return object.ID
	}
	id, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
	return id
}
