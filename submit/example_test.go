package submit_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/submit"
)

// A program that has a connection to NATS publishes a mail.
func ExampleClient_Publish() {
	url, stop := exampleBroker()
	defer stop()

	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	text := "Your order has been sent."
	receipt, err := submit.New(nc).Publish(ctx, "normal", &schema.Envelope{
		ID:      "order-17",
		From:    mail.Address{Name: "Shop", Email: "shop@example.com"},
		To:      []mail.Address{{Name: "Ann", Email: "ann@example.net"}},
		Subject: "Your order",
		Text:    &text,
		Tags:    []string{"orders"},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("queued", receipt.ID, receipt.Lane, receipt.Sequence)
	// Output: queued order-17 normal 1
}

// A message that exists is published as it is. Envelope says whom SMTP names; if
// it is nil, sender and recipients come from the message's header.
func ExampleClient_Publish_message() {
	url, stop := exampleBroker()
	defer stop()

	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	message := []byte("From: Shop <shop@example.com>\r\nTo: customers@example.com\r\nSubject: News\r\n\r\nWe have moved.\r\n")
	bounces := "bounces+17@example.com"
	receipt, err := submit.New(nc).Publish(ctx, "normal", &schema.Envelope{
		ID:       "news-17-ann",
		Raw:      message,
		Envelope: &schema.Path{MailFrom: &bounces, RcptTo: []string{"ann@example.net"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("queued", receipt.ID)
	// Output: queued news-17-ann
}

// A newsletter goes out in batches. A mail that cannot be published stops no other one.
func ExampleClient_PublishAll() {
	url, stop := exampleBroker()
	defer stop()

	nc, err := nats.Connect(url)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()

	client := submit.New(nc)
	client.Patience = 30 * time.Second // for each mail
	text, readers := "We have moved.", []string{"ann@example.net", "bob", "cem@example.org"}
	mails := func(yield func(*schema.Envelope) bool) {
		for _, reader := range readers {
			if !yield(&schema.Envelope{
				ID:      "news-17-" + reader, // the same one if the program runs again
				From:    mail.Address{Email: "shop@example.com"},
				To:      []mail.Address{{Email: reader}},
				Subject: "News",
				Text:    &text,
			}) {
				return
			}
		}
	}
	for receipt, err := range client.PublishAll(context.Background(), "normal", mails) {
		if err != nil {
			fmt.Println("not published:", receipt.ID)
			continue
		}
		fmt.Println("queued", receipt.ID)
	}
	// Output:
	// queued news-17-ann@example.net
	// not published: news-17-bob
	// queued news-17-cem@example.org
}

// What to do about each error.
func ExampleClient_Publish_errors() {
	url, stop := exampleBroker()
	defer stop()

	cfg := broker.DefaultConfig()
	cfg.URL = url
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := submit.Dial(ctx, cfg)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	text := "Hello"
	_, err = client.Publish(ctx, "normal", &schema.Envelope{
		From: mail.Address{Email: "shop@example.com"},
		To:   []mail.Address{{Email: "ann"}},
		Text: &text,
	})
	bad, refused := errors.AsType[*schema.EnvelopeError](err)
	switch {
	case refused:
		fmt.Println("mend the mail:", bad.Field)
	case errors.Is(err, submit.ErrNoLane), errors.Is(err, stream.ErrTooLarge):
		fmt.Println("trying again does not help:", err)
	case errors.Is(err, stream.ErrFull), errors.Is(err, stream.ErrAway):
		fmt.Println("publish it later, with the same ID:", err)
	}
	// Output: mend the mail: to[0]
}

// A form that a person fills in is checked before it is published.
func ExampleCheck() {
	text := "Hello"
	err := submit.Check(&schema.Envelope{
		From:    mail.Address{Email: "shop@example.com"},
		To:      []mail.Address{{Email: "ann@example.net"}},
		Subject: "Hello\nBcc: eve@example.com",
		Text:    &text,
	})
	fmt.Println(err)
	// Output: subject: contains a control character or a line break
}
