package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// stopSignals are those that end the worker in order. A terminal that is closed
// is one of them, unless the worker was started to outlive it.
func stopSignals() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// onStop says what happens now when ctx ends, and calls hurry at a second
// signal. Call what it returns at the end; it returns when all has been said.
func (w *worker) onStop(ctx context.Context, say, hurry func()) (end func()) {
	over, said := make(chan struct{}), make(chan struct{})
	again := make(chan os.Signal, 1)
	unused := context.AfterFunc(ctx, func() {
		defer close(said)
		signal.Notify(again, stopSignals()...)
		defer signal.Stop(again)
		w.admin.ready(nil)
		say()
		select {
		case <-again:
			hurry()
		case <-over:
		}
	})
	return func() {
		close(over)
		if !unused() {
			<-said
		}
	}
}
