// Command mutant is a worker that breaks a rule of settling, for the tests that
// prove that the checker of package storm sees it. The variable TEST_MUTANT says
// which rule: ack-first, copy-last, never-ack or unsynced.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/cli/worker"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), worker.StopSignals()...)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutant:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	set, errs := app.ReadSettings(os.Environ())
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	name := os.Getenv("TEST_MUTANT")
	if name == "unsynced" {
		stop, err := unsynced(&set.Broker)
		if err != nil {
			return err
		}
		defer stop()
		return app.New(set, os.Stdout, os.Stderr).Run(ctx)
	}
	decorate, ok := mutants[name]
	if !ok {
		return fmt.Errorf("TEST_MUTANT: %q is not ack-first, copy-last, never-ack or unsynced", name)
	}
	return app.New(set, os.Stdout, os.Stderr, app.Decorate(decorate)).Run(ctx)
}

var mutants = map[string]func(settle.Parts) settle.Parts{
	"ack-first": func(p settle.Parts) settle.Parts {
		p.Journal = ackFirst{p.Journal, streams(p)}
		return p
	},
	"copy-last": func(p settle.Parts) settle.Parts {
		p.Store, p.DeadLetters = lateCopies{p.Store}, lateBurials{p.DeadLetters}
		return p
	},
	"never-ack": func(p settle.Parts) settle.Parts {
		p.Journal = neverAck{journal.New(briefTTL{streams(p)})}
		return p
	},
}

func streams(p settle.Parts) *stream.Store {
	s, ok := p.Store.(*stream.Store)
	if !ok {
		panic("the parts of a worker have changed")
	}
	return s
}

// ackFirst removes a message from its stream before it is recorded.
type ackFirst struct {
	settle.Journal
	store *stream.Store
}

func (m ackFirst) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if r.Generation == 0 {
		_, s, _ := strings.Cut(k.Origin, "-")
		if seq, err := strconv.ParseUint(s, 10, 64); err == nil {
			_ = m.store.Delete(ctx, k.Lane.SendStream(), seq)
		}
	} else if due, err := m.store.Last(ctx, k.Lane.LaterStream(), k.CopySubject(wire.CopyDue)); err == nil { // a copy has its id
		_ = m.store.Delete(ctx, k.Lane.LaterStream(), due.Sequence)
	}
	return m.Journal.Set(ctx, k, r, expected, brief)
}

// late is how long after the ack copies and dead letters are made.
const late = 100 * time.Millisecond

// lateCopies makes a copy only once its message is acknowledged.
type lateCopies struct{ settle.Store }

func (m lateCopies) Put(ctx context.Context, msg *nats.Msg, filter string, _ uint64, generation int) (uint64, bool, error) {
	time.AfterFunc(late, func() {
		_, _, _ = m.Store.Put(context.WithoutCancel(ctx), msg, filter, 0, generation)
	})
	return 1, false, nil
}

// lateBurials makes a dead letter only once its message is acknowledged.
type lateBurials struct{ settle.DeadLetters }

func (m lateBurials) Bury(ctx context.Context, l *wire.DeadLetter) (uint64, error) {
	time.AfterFunc(late, func() { _, _ = m.DeadLetters.Bury(context.WithoutCancel(ctx), l) })
	return 1, nil
}

// neverAck goes no further than the record, until it is killed.
type neverAck struct{ settle.Journal }

func (m neverAck) Set(ctx context.Context, k wire.Key, r *wire.Record, expected uint64, brief bool) (uint64, error) {
	if _, err := m.Journal.Set(ctx, k, r, expected, brief); err != nil {
		return 0, err
	}
	select {}
}

// briefTTL lets final records live for two seconds instead of ten minutes.
type briefTTL struct{ *stream.Store }

func (m briefTTL) Set(ctx context.Context, msg *nats.Msg, filter string, expected uint64) (uint64, error) {
	if msg.Header.Get(jetstream.MsgTTLHeader) != "" {
		msg.Header.Set(jetstream.MsgTTLHeader, "2s")
	}
	return m.Store.Set(ctx, msg, filter, expected)
}
