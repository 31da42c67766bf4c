// Publish one mail from Go: go run examples/publish.go
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const envelope = `{
	"from": "Shop <shop@example.com>",
	"to": ["Ann <ann@example.net>"],
	"subject": "Grüße from Go",
	"text": "Your order has been sent."
}`

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
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// It returns once the mail is stored. With the same Nats-Msg-Id, which WithMsgID sets,
	// it is safe to try again.
	ack, err := js.Publish(ctx, "mail.send.normal", []byte(envelope), jetstream.WithMsgID(fmt.Sprintf("order-17-%d", os.Getpid())))
	if err != nil {
		return err
	}
	fmt.Println("queued", ack.Stream, ack.Sequence)
	return nil
}
