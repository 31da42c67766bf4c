package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/queue"
)

func (a *app) show() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show the trace of a message: every attempt, what became of it, what comes next",
		Long: `Show the trace of a message: its envelope, every attempt with the relay's reply,
what became of each recipient and what comes next. ID is an id, an origin, or what
publish printed: lane/sequence; or a Message-ID, or the queue id that the relay gave,
which the log is searched for if nothing has that id. A Message-ID of your own is
known while the message waits, is scheduled or is dead. If several messages have the
id, it shows all of them, the newest first. Exits with 1 if there is none.`,
		Example: "  postrider show m1\n  postrider show normal/17\n  postrider show 4Zx2Y31q9z\n  postrider show m1 --json",
		Args:    cli.One("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.showTraces(cmd.Context(), args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON object a line")
	return cmd
}

func (a *app) showTraces(ctx context.Context, id string, asJSON bool) error {
	p, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	found, err := p.queue.Traces(ctx, id, a.watch)
	if err != nil {
		return failed(err, a.own)
	}
	if len(found.Messages) == 0 {
		if found.Unsearched > 0 {
			found.Searched = append(found.Searched, fmt.Sprintf("not the %s that wait, for an id like that", queue.Counted(found.Unsearched, "message")))
		}
		return nothing("no message %s; searched: %s. postrider events --to ADDRESS finds messages by recipient", id, strings.Join(found.Searched, "; "))
	}
	if found.Unsearched > 0 {
		fmt.Fprintf(a.stderr, "postrider: there may be others with this id: %s that no worker has settled were not searched\n", queue.Counted(found.Unsearched, "message"))
	}
	for i, t := range found.Messages {
		if asJSON {
			err = writeJSON(a.stdout, t)
		} else {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			err = writeTrace(a.stdout, a.paint(), t, p.Now())
		}
		if err != nil {
			return err
		}
	}
	return nil
}
