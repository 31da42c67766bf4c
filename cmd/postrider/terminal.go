package main

import (
	"io"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/queue"
)

// paint colours words where they are read on a terminal.
type paint struct{ on bool }

// paint is for standard output. NO_COLOR turns it off, whatever its value
// (no-color.org), and so does a terminal that knows no colours.
func (a *app) paint() paint {
	no, _ := a.lookup("NO_COLOR")
	kind, _ := a.lookup("TERM")
	return paint{cli.IsTerminal(a.stdout) && no == "" && kind != "dumb"}
}

func (p paint) in(code, s string) string {
	if !p.on || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p paint) bold(s string) string   { return p.in("1", s) }
func (p paint) dim(s string) string    { return p.in("2", s) }
func (p paint) red(s string) string    { return p.in("31", s) }
func (p paint) green(s string) string  { return p.in("32", s) }
func (p paint) yellow(s string) string { return p.in("33", s) }

// progress is a bar on a terminal, and nothing elsewhere.
type progress struct{ bar *progressbar.ProgressBar }

// watch makes a bar for [queue.Watch].
func (a *app) watch(total int64, what string) queue.Bar {
	out := io.Discard
	if cli.IsTerminal(a.stderr) {
		out = a.stderr
	}
	return progress{progressbar.NewOptions64(total,
		progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetPredictTime(total > 0),
	)}
}

// A bar that cannot be drawn is no reason to stop.
func (p progress) Step() { _ = p.bar.Add(1) }
func (p progress) End()  { _ = p.bar.Finish() }
