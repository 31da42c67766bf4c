package app

import (
	"context"
	"errors"

	"github.com/postrider/postrider/broker"
)

var (
	errStarting     = errors.New("it has not begun to take mail")
	errStopping     = errors.New("it was told to stop")
	errDisconnected = errors.New("it is not connected to the broker")
)

// becomeReady tells the probes that the worker takes mail. What they are told is known
// already: a probe must not wait for the broker.
func (w *Worker) becomeReady(ctx context.Context) {
	fault := func() error { return w.embedded.Fault() }
	if w.embedded == nil {
		h := broker.NewHealth(w.conn, w.log)
		w.watch(ctx, "watch over the broker", h.Watch)
		fault = h.Fault
	}
	w.admin.ready(func() error {
		if !w.conn.NC().IsConnected() {
			return errDisconnected
		}
		return fault()
	})
}
