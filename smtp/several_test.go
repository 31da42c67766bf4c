package smtp

import (
	"context"
	"log/slog"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

// A Relay delivers a message, and says whether mail may be sent to it. Whoever
// needs one of the two need not know the other.
var (
	_ interface {
		Deliver(ctx context.Context, m mail.Message) mail.Transaction
	} = (*Relay)(nil)
	_ interface {
		Up() bool
		Wait(ctx context.Context) error
	} = (*Relay)(nil)
)

// TestSeveralRelays: two relays of one process share nothing but the registry.
// One that is down or closed leaves the other alone.
func TestSeveralRelays(t *testing.T) {
	t.Parallel()
	reg := prometheus.NewRegistry()
	open := func(opts ...smtptest.Option) (*Relay, *smtptest.Server) {
		server := smtptest.New(t, opts...)
		r, err := New(testConfig(server.URL()), slog.New(slog.DiscardHandler), reg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close(context.Background()) })
		return r, server
	}
	broken, _ := open(smtptest.On("CONNECT", smtptest.Answer{Reply: "554 5.3.2 no service"}))
	works, server := open()
	chosen := map[string]*Relay{"a@x.test": broken, "b@x.test": works}
	for range 2 {
		for to, want := range map[string]string{"a@x.test": "requeued", "b@x.test": "delivered"} {
			tx := chosen[to].Deliver(t.Context(), message(to))
			if classes(tx) != want || tx.Relay != chosen[to].Name() {
				t.Errorf("%s: %+v, want %s", to, tx, want)
			}
		}
	}
	if broken.Up() || !works.Up() || works.Wait(t.Context()) != nil || server.Accepted() != 2 {
		t.Errorf("up: %v and %v; %d messages", broken.Up(), works.Up(), server.Accepted())
	}
	if err := broken.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if tx := works.Deliver(t.Context(), message()); classes(tx) != "delivered" {
		t.Errorf("after the other was closed: %+v", tx)
	}
	if got := gathered(t, reg); got["postrider_smtp_transactions_total{outcome=delivered}"] != 3 || got["postrider_smtp_transactions_total{outcome=requeued}"] != 0 {
		t.Errorf("metrics of the one that is left: %v", got)
	}
}

// TestDown: a transaction says whether the relay is to blame for what was requeued.
// A relay that hangs up at one recipient is not down.
func TestDown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		at      string
		answer  smtptest.Answer
		classes string
		down    bool
	}{
		{"CONNECT", smtptest.Answer{Reply: "554 5.3.2 no service"}, "requeued requeued", true},
		{"RCPT", smtptest.Answer{Reply: "530 5.7.0 authenticate"}, "requeued requeued", true},
		{"MAIL", smtptest.Answer{Reply: "452 4.3.1 no room"}, "requeued requeued", true},
		{"RCPT", smtptest.Answer{Reply: "421 4.3.2 not this one", HangUp: true}, "requeued pending", false},
		{"RCPT", smtptest.Answer{HangUp: true}, "requeued pending", false},
		{"RCPT", smtptest.Answer{Reply: "550 5.1.1 no such user"}, "failed failed", false},
		{"DATA", smtptest.Answer{Reply: "354 go ahead"}, "delivered delivered", false},
	} {
		b := newBundle(t, smtptest.New(t, smtptest.On(c.at, c.answer)), nil)
		tx := b.wantClasses(t, message("a@x.test", "b@x.test"), c.classes)
		if tx.Down != c.down || b.Up() == c.down {
			t.Errorf("%s %+v: down %v, the relay is up %v, want down %v", c.at, c.answer, tx.Down, b.Up(), c.down)
		}
	}
}
