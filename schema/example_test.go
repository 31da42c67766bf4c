package schema_test

import (
	"errors"
	"fmt"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

func ExampleDecode() {
	e, err := schema.Decode(nil, []byte(`{
		"from": "Shop <shop@example.com>",
		"to": ["Ann <ann@example.net>"],
		"bcc": ["archive@example.com"],
		"subject": "Your order",
		"text": "Your order has been sent."
	}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("from", e.ReversePath())
	for _, r := range e.Recipients() {
		fmt.Println("to", r.Index, r.Address)
	}
	// Output:
	// from shop@example.com
	// to 0 ann@example.net
	// to 1 archive@example.com
}

// The error names the field.
func ExampleDecode_error() {
	_, err := schema.Decode(nil, []byte(`{"from": "shop@example.com", "to": ["ann@example.net"], "sbuject": "Your order", "text": ""}`))
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); ok {
		fmt.Printf("%s: %s (%s)\n", bad.Field, bad.Problem, bad.Reason)
	}
	// Output: sbuject: unknown field (bad-envelope)
}

// In the raw form the body is the message and the options are NATS headers.
// Without Mail-To the message says whom it is for.
func ExampleDecode_message() {
	header := map[string][]string{
		"Content-Type": {"message/rfc822"},
		"Mail-From":    {"bounces@example.com"},
		"Mail-Tag":     {"orders"},
	}
	body := []byte("From: Shop <shop@example.com>\r\nTo: Ann <ann@example.net>\r\nSubject: Your order\r\n\r\nSent.\r\n")
	e, err := schema.Decode(header, body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(e.ReversePath(), e.Recipients()[0].Address, e.Subject, e.Tags)
	// Output: bounces@example.com ann@example.net Your order [orders]
}

func ExampleEnvelope_Validate() {
	e := &schema.Envelope{
		From: mail.Address{Email: "shop@example.com"},
		To:   []mail.Address{{Email: "ann@example.net"}, {Email: "bob@"}},
		Text: new(string),
	}
	fmt.Println(e.Validate())
	// Output: to[1]: address "bob@": the part after the @ is neither a domain nor an address literal
}

// What Encode writes Decode reads.
func ExampleEnvelope_Encode() {
	text := "Your order has been sent."
	header, body, err := (&schema.Envelope{
		ID:   "order-17",
		From: mail.Address{Name: "Shop", Email: "shop@example.com"},
		To:   []mail.Address{{Email: "ann@example.net"}},
		Text: &text,
	}).Encode()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(len(header), string(body))
	// Output: 0 {"id":"order-17","from":{"name":"Shop","email":"shop@example.com"},"to":[{"email":"ann@example.net"}],"text":"Your order has been sent."}
}
