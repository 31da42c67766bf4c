// Publish one mail from Go with the package submit, which checks it first:
// go run ./examples/submit
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/submit"
)

func main() {
	if err := publish(); err != nil {
		log.Fatal(err)
	}
}

func publish() error {
	url := os.Getenv("NATS_URL")
	if url == "" {
		url = nats.DefaultURL
	}
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	text := "Your order has been sent."
	// It returns once the mail is stored. Until ctx ends it tries again by itself.
	receipt, err := submit.New(nc).Publish(ctx, "normal", &schema.Envelope{
		ID:      fmt.Sprintf("order-17-%d", os.Getpid()),
		From:    mail.Address{Name: "Shop", Email: "shop@example.com"},
		To:      []mail.Address{{Name: "Ann", Email: "ann@example.net"}},
		Subject: "Grüße from submit",
		Text:    &text,
	})
	if err != nil {
		return err
	}
	fmt.Println("queued", receipt.ID, receipt.Lane.SendStream(), receipt.Sequence)
	return nil
}
