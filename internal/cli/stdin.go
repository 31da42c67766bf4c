package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// ErrInterrupted: a signal ended the command. It has its exit status.
var ErrInterrupted = Failf(TempFail, "interrupted")

// Interruptible is in until ctx ends: a read then fails with [ErrInterrupted], even
// if in gives nothing. The read of in itself goes on until in or the process ends.
func Interruptible(ctx context.Context, in io.Reader) io.Reader {
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { _ = w.CloseWithError(ErrInterrupted) })
	go func() {
		_, err := io.Copy(w, in)
		_ = w.CloseWithError(err) // of nil it makes io.EOF
	}()
	return r
}

// Interrupted adds to [ErrInterrupted] what was not done, if a signal is why err came
// about: a request that is canceled looks like a broker that does not answer.
func Interrupted(ctx context.Context, err error, format string, args ...any) error {
	if errors.Is(err, ErrInterrupted) || err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return fmt.Errorf("%w; %s", ErrInterrupted, fmt.Sprintf(format, args...))
	}
	return err
}
