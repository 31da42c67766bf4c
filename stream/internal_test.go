package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

func TestClassOfRefusals(t *testing.T) {
	t.Parallel()
	classes := []error{ErrFull, ErrTooLarge, ErrAway, ErrNotFound, ErrNoStream, ErrNoConsumer, ErrNoJetStream, ErrConflict}
	tests := map[int]error{
		10002: ErrFull, 10023: ErrFull, 10047: ErrFull, 10077: ErrFull,
		10054: ErrTooLarge, 10097: ErrTooLarge,
		10071: ErrConflict, 10164: ErrConflict,
		10008: ErrAway, 10158: ErrAway, 10037: ErrNotFound,
		10014: ErrNoConsumer, 10059: ErrNoStream, 10039: ErrNoJetStream, 10076: ErrNoJetStream,
		10003: nil,
	}
	for code, want := range tests {
		err := fmt.Errorf("publish: %w", &APIError{Code: code, Description: "words"})
		for _, class := range classes {
			if got := errors.Is(err, class); got != (class == want) {
				t.Errorf("error %d is %q: %v", code, class, got)
			}
			if got := errors.Is(Classify(&jetstream.APIError{ErrorCode: jetstream.ErrorCode(code)}), class); got != (class == want) {
				t.Errorf("error %d of package jetstream is %q: %v", code, class, got)
			}
		}
		if !strings.Contains(err.Error(), "words") || !strings.Contains(err.Error(), fmt.Sprint(code)) {
			t.Errorf("error %d reads %q", code, err)
		}
		if got := Classify(err); got.Error() != err.Error() {
			t.Errorf("what has its class got another one: %v", got)
		}
	}
	if err := Classify(&jetstream.APIError{ErrorCode: 10008}); !errors.Is(err, ErrNoLeader) || Classify(err) != err {
		t.Errorf("no leader: %v", err)
	}
	for _, err := range []error{nats.ErrTimeout, nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrDisconnected, nats.ErrConnectionDraining, context.DeadlineExceeded, context.Canceled} {
		if got := unanswered(err); !errors.Is(got, ErrAway) || !errors.Is(got, err) {
			t.Errorf("unanswered(%v) = %v, want ErrAway", err, got)
		}
	}
	if got := unanswered(nats.ErrMaxPayload); !errors.Is(got, ErrTooLarge) || errors.Is(got, ErrAway) {
		t.Errorf("unanswered(%v) = %v, want ErrTooLarge", nats.ErrMaxPayload, got)
	}
}

func TestStreamOf(t *testing.T) {
	t.Parallel()
	l := wire.Key{Lane: "a-b", ID: "id", Origin: "1-1", Recipient: "all"}
	tests := map[string]string{
		l.Lane.SendSubject(): l.Lane.SendStream(), l.Lane.TenantSubject("t"): l.Lane.SendStream(), l.CopySubject(wire.CopyLater): l.Lane.LaterStream(), l.CopySubject(wire.CopyDue): l.Lane.LaterStream(),
		l.RecordSubject(): wire.StreamRecord, l.EventSubject(): wire.StreamEvent, l.DeadSubject(): wire.StreamDead,
		"": "", "mail": "", "mail.send": "", "mail.send.a-b.c.d": "", "mail.copy.a-b": "", "mail.held.a.b.c.d": "", "post.send.a": "",
	}
	for subject, want := range tests {
		if got, err := Of(subject); got != want || (err == nil) != (want != "") {
			t.Errorf("Of(%q) = %q, %v; want %q", subject, got, err, want)
		}
	}
}
