package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

func (a *app) deadShow() *cobra.Command {
	var asJSON, body bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show all of a dead letter: why, every attempt, headers, body",
		Long: `Show all of a dead letter: why it is dead, every attempt, the producer's NATS
headers and the body as it was published. ID is an id or an origin. With --body it
writes only those bytes, as they are: correct the envelope and publish it again.`,
		Example: "  postrider dead show m1\n  postrider dead show m1 --body > envelope.json",
		Args:    cli.One("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cli.OneOf(cmd, "json", "body"); err != nil {
				return err
			}
			return a.showDead(cmd.Context(), args[0], asJSON, body)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	cmd.Flags().BoolVar(&body, "body", false, "write the body alone, as it was published")
	return cmd
}

func (a *app) showDead(ctx context.Context, id string, asJSON, body bool) error {
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	var all []*deadletter.Found
	for l, err := range p.queue.Select(ctx, queue.Selection{IDs: []string{id}}) {
		if _, none := errors.AsType[*queue.NoneError](err); none {
			return nothing("no dead letter %s: postrider dead list shows what there is, postrider show %s shows what became of the message", id, id)
		}
		if err != nil {
			return failed(err, a.own)
		}
		all = append(all, l)
	}
	// The dead letters of one message have one body; those of two messages do not.
	if body && slices.ContainsFunc(all, func(l *deadletter.Found) bool { return l.Key.Origin != all[0].Key.Origin }) {
		return cli.Failf(cli.Data, "several messages have that id: name one by its origin, which postrider dead list --json shows")
	}
	for i, l := range all {
		switch {
		case asJSON:
			err = writeJSON(a.stdout, fullDeadLetterOf(l))
		case body:
			_, err = a.stdout.Write(l.Body)
			return err
		default:
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			err = writeDeadLetter(a.stdout, a.paint(), l)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fullDeadLetter is a dead letter as JSON, with all there is.
type fullDeadLetter struct {
	deadLetterLine
	Enqueued string              `json:"enqueued"`
	Log      []wire.Attempt      `json:"log"`
	Headers  map[string][]string `json:"headers"`
	// Body as published; in base64 if it is not UTF-8.
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"`
}

func fullDeadLetterOf(l *deadletter.Found) fullDeadLetter {
	w := fullDeadLetter{deadLetterLine: deadLetterLineOf(l), Enqueued: l.Enqueued.UTC().Format("2006-01-02T15:04:05.999999999Z07:00"), Log: l.Log, Headers: l.Producer}
	if utf8.Valid(l.Body) {
		w.Body = string(l.Body)
	} else {
		w.BodyBase64 = l.Body
	}
	return w
}

func writeDeadLetter(out io.Writer, p paint, l *deadletter.Found) error {
	var b strings.Builder
	field := func(name, value string) { p.field(&b, name, value) }
	field("id", p.bold(l.Key.ID))
	field("origin", l.Key.Origin)
	field("lane", string(l.Key.Lane))
	field("to", strings.Join(queue.AddressesOf(l), ", "))
	field("reason", p.red(string(l.Reason)))
	field("error", l.Error)
	field("queued", queue.Clock(l.Enqueued))
	field("died", queue.Clock(l.At))
	field("replayed", queue.ReplaysOf(l))
	for _, at := range l.Log {
		p.entry(&b, queue.Entry{Attempt: &at}, func(i int) string { return queue.RecipientOf(l, i) })
	}
	for _, name := range slices.Sorted(maps.Keys(l.Producer)) {
		for _, v := range l.Producer[name] {
			field("header", name+": "+mail.Sentence(v, 1000))
		}
	}
	field("next", queue.Remedy("postrider", l.Reason, l.Key.ID))
	b.WriteString("\n" + printable(l.Body) + "\n")
	_, err := io.WriteString(out, b.String())
	return err
}

// printable keeps a body from controlling a terminal: what is not text becomes "?".
func printable(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f && (r < 0x80 || r > 0x9f) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(string(b), "?"))
}
