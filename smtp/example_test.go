package smtp_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/smtp"
)

// text is a body in memory; a file or an object store works the same way.
type text string

func (t text) Open() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(string(t))), nil }

const hello text = "From: shop@example.com\r\nSubject: Hello\r\n\r\nHello!\r\n"

func helloTo(recipients ...string) mail.Message {
	m := mail.Message{ID: "order-17", From: "shop@example.com", Body: hello, Size: int64(len(hello))}
	for i, address := range recipients {
		m.Recipients = append(m.Recipients, mail.Recipient{Index: i, Address: address})
	}
	return m
}

// A message has an outcome for each recipient.
func ExampleRelay_Deliver() {
	server, err := smtptest.Start(smtptest.ByAddress()) // answers 550 to 550@…
	if err != nil {
		panic(err)
	}
	defer server.Close()

	cfg := smtp.DefaultConfig()
	cfg.URL = server.URL()
	relay, err := smtp.New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		panic(err)
	}
	defer relay.Close(context.Background())

	tx := relay.Deliver(context.Background(), helloTo("ann@example.net", "550@example.net", "451@example.net"))
	for _, o := range tx.Outcomes {
		fmt.Println(o.Class, "at", o.Stage, o.Code, o.Reply)
	}
	// Output:
	// delivered at dot 250 Ok: queued as 1-1
	// failed at rcpt 550 as the address asks
	// deferred at rcpt 451 as the address asks
}

// A relay that is at fault gets no mail, and no message is to blame.
func ExampleRelay_Wait() {
	server, err := smtptest.Start(smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb == "CONNECT" && st.Session == 1 {
			return &smtptest.Answer{Reply: "554 5.3.2 no service"}
		}
		return nil
	}))
	if err != nil {
		panic(err)
	}
	defer server.Close()

	cfg := smtp.DefaultConfig()
	cfg.URL, cfg.PauseMin = server.URL(), 200*time.Millisecond
	relay, err := smtp.New(cfg, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		panic(err)
	}
	defer relay.Close(context.Background())

	deliver := func() {
		o := relay.Deliver(context.Background(), helloTo("ann@example.net")).Outcomes[0]
		fmt.Printf("%s: %d (counted: %v)\n", o.Class, o.Code, o.Class.Counted())
	}
	deliver()
	fmt.Println("up:", relay.Up())
	if err := relay.Wait(context.Background()); err != nil {
		panic(err)
	}
	deliver()
	// Output:
	// requeued: 554 (counted: false)
	// up: false
	// delivered: 250 (counted: true)
}

// An Error says what the relay did and what to do about it.
func ExampleCheck() {
	server, err := smtptest.Start(smtptest.Auth("app", "hunter2-new"))
	if err != nil {
		panic(err)
	}
	defer server.Close()

	cfg := smtp.DefaultConfig()
	cfg.URL = server.URL()
	cfg.Username, cfg.Password, cfg.AuthWithoutTLS = "app", "hunter2-old", true
	_, err = smtp.Check(context.Background(), cfg)
	if bad, ok := errors.AsType[*smtp.Error](err); ok {
		fmt.Println(bad.Detail())
		fmt.Println(bad.Command, bad.Code, bad.Enhanced, bad.Reply)
		fmt.Println("hint:", bad.Hint)
	}
	// Output:
	// refused the password of app: 535 5.7.8 wrong user or password
	// AUTH 535 5.7.8 wrong user or password
	// hint: set SMTP_USERNAME and SMTP_PASSWORD
}
