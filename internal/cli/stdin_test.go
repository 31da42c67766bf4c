package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestInterruptible: a read ends with ctx, although nobody writes or closes.
func TestInterruptible(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	in, writer := io.Pipe()
	defer func() { _ = writer.Close() }()
	r := Interruptible(ctx, in)
	go func() {
		_, _ = io.WriteString(writer, "some")
		interrupt()
	}()
	got, err := io.ReadAll(r)
	if !errors.Is(err, ErrInterrupted) || Status(err) != TempFail {
		t.Errorf("%q, %v", got, err)
	}
	if b, err := io.ReadAll(Interruptible(t.Context(), strings.NewReader("all of it"))); string(b) != "all of it" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}
