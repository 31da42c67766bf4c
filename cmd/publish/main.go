// Command publish puts a mail into the queue and returns once the broker has
// stored it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/schema"
)

// Exit statuses, from sysexits.h.
const (
	exitOK       = 0
	exitUsage    = 64
	exitData     = 65
	exitTempFail = 75
	exitConfig   = 78
)

// publishFor bounds the whole command; within it a publish is tried again.
const publishFor = 30 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

// exitError is an error with the status to exit with.
type exitError struct {
	error
	status int
}

func (e *exitError) Unwrap() error { return e.error }

func run(ctx context.Context, args []string, lookup env.Lookup, stdout, stderr io.Writer) int {
	m := &mail{now: time.Now}
	cmd := m.command(lookup, stdout)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	fmt.Fprintln(stderr, "publish:", err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.status
	}
	return exitUsage
}

// mail is what the flags say.
type mail struct {
	from, subject, text, lane, at, id string
	to                                []string
	in                                time.Duration
	json                              bool
	now                               func() time.Time
}

func (m *mail) command(lookup env.Lookup, stdout io.Writer) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "publish --from ADDRESS --to ADDRESS [flags]",
		Short: "Put a mail into the queue",
		Long: `Put a mail into the queue. It returns once the broker has stored the mail;
workers send it. Settings such as NATS_URL come from the environment; without
them it publishes to the worker on this machine.`,
		Example:       `  publish --from you@example.com --to "Ann <ann@example.net>" --subject Hello --text "Hi Ann"`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return m.publish(cmd.Context(), lookup, stdout)
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.from, "from", "", "sender, \"a@b\" or \"Name <a@b>\"")
	f.StringArrayVar(&m.to, "to", nil, "recipient; may be given many times")
	f.StringVar(&m.subject, "subject", "", "subject")
	f.StringVar(&m.text, "text", "", "text")
	f.StringVar(&m.lane, "lane", "normal", "lane to publish to")
	f.StringVar(&m.at, "at", "", "when to send, RFC 3339, like 2030-01-02T15:04:05Z")
	f.DurationVar(&m.in, "in", 0, "how long to wait before sending, like 10s or 2h")
	f.StringVar(&m.id, "id", "", "id of the mail; the broker drops a second one with it for ten minutes (default a UUID)")
	f.BoolVar(&m.json, "json", false, "print a JSON object")
	cmd.MarkFlagsMutuallyExclusive("at", "in")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("to")
	return cmd
}

// envelope is what the flags say, held to the rules that a worker holds it to.
func (m *mail) envelope() ([]byte, error) {
	e := schema.Envelope{ID: m.id, Subject: m.subject, Text: &m.text}
	if e.ID == "" {
		e.ID = uuid.NewString()
		m.id = e.ID
	}
	var err error
	if e.From, err = schema.ParseAddress(m.from); err != nil {
		return nil, fmt.Errorf("--from: %w", err)
	}
	for _, s := range m.to {
		a, err := schema.ParseAddress(s)
		if err != nil {
			return nil, fmt.Errorf("--to: %w", err)
		}
		e.To = append(e.To, a)
	}
	if e.SendAt, err = m.sendAt(); err != nil {
		return nil, err
	}
	body, err := json.Marshal(&e)
	if err != nil {
		return nil, fmt.Errorf("write the envelope: %w", err)
	}
	if _, err := schema.Decode(nil, body); err != nil {
		return nil, fmt.Errorf("a worker would refuse this mail: %w", err)
	}
	return body, nil
}

func (m *mail) sendAt() (time.Time, error) {
	switch {
	case m.in < 0:
		return time.Time{}, fmt.Errorf("--in: %s lies in the past", m.in)
	case m.in > 0:
		return m.now().Add(m.in).UTC(), nil
	case m.at == "":
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, m.at)
	if err != nil {
		return time.Time{}, fmt.Errorf("--at: %q is not a time like 2030-01-02T15:04:05Z", m.at)
	}
	if t.Before(m.now()) {
		return time.Time{}, fmt.Errorf("--at: %s has passed", m.at)
	}
	return t, nil
}

func (m *mail) publish(ctx context.Context, lookup env.Lookup, stdout io.Writer) error {
	lane := schema.Lane(m.lane)
	if err := lane.Validate(); err != nil {
		return &exitError{fmt.Errorf("--lane: %w", err), exitUsage}
	}
	body, err := m.envelope()
	if err != nil {
		return &exitError{err, exitData}
	}
	cfg := broker.DefaultConfig()
	cfg.Role = broker.Publisher
	if errs := env.Read(ctx, lookup, &cfg); len(errs) > 0 {
		return &exitError{errors.Join(errs...), exitConfig}
	}
	ctx, cancel := context.WithTimeout(ctx, publishFor)
	defer cancel()
	c, err := broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return &exitError{fmt.Errorf("%w\nIs a worker running? Start one with: worker", err), exitTempFail}
	}
	defer c.Close()
	ack, err := c.Publish(ctx, lane, m.id, nil, body)
	switch {
	case errors.Is(err, schema.ErrTooLarge):
		return &exitError{err, exitData}
	case errors.Is(err, broker.ErrNoLane):
		return &exitError{err, exitUsage}
	case err != nil:
		return &exitError{err, exitTempFail}
	}
	return m.print(stdout, ack)
}

func (m *mail) print(out io.Writer, ack broker.Ack) error {
	if m.json {
		b, err := json.Marshal(struct {
			ID        string `json:"id"`
			Lane      string `json:"lane"`
			Sequence  uint64 `json:"sequence"`
			Duplicate bool   `json:"duplicate"`
		}{m.id, m.lane, ack.Sequence, ack.Duplicate})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, string(b))
		return err
	}
	word := "queued"
	if ack.Duplicate {
		word = "duplicate"
	}
	_, err := fmt.Fprintln(out, strings.Join([]string{word, m.id, fmt.Sprintf("%s/%d", m.lane, ack.Sequence)}, " "))
	return err
}
