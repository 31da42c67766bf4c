package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/stream"
)

// Dial connects to the broker that the environment names, and gives up after
// patience. It reads the settings too: structs as for [env.Read].
func Dial(ctx context.Context, lookup env.Lookup, role broker.Role, patience time.Duration, settings ...any) (*broker.Conn, error) {
	cfg := broker.DefaultConfig()
	cfg.Role = role
	if errs := env.Read(lookup, append([]any{&cfg}, settings...)...); len(errs) > 0 {
		return nil, Fail(Config, errors.Join(errs...))
	}
	patient, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c, err := broker.Dial(patient, cfg, slog.New(slog.DiscardHandler))
	switch {
	case err == nil:
		return c, nil
	case errors.Is(ctx.Err(), context.Canceled):
		return nil, ErrInterrupted
	case errors.Is(err, broker.ErrRefused):
		return nil, Fail(NoPerm, err)
	}
	if cfg.URL == "" && errors.Is(err, stream.ErrAway) {
		err = fmt.Errorf("%w (%s)", err, Typed("postrider worker"))
	}
	return nil, Fail(TempFail, err)
}
