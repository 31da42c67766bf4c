package compose

import (
	"io"
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// text10KB is a text as applications write them: mostly ASCII.
var text10KB = strings.Repeat("Grüße, your order has been sent and will arrive on Tuesday.\n", 10<<10/61)

func BenchmarkComposeText(b *testing.B) {
	benchmark(b, &schema.Envelope{Text: &text10KB})
}

func BenchmarkComposeAttachment(b *testing.B) {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i * 7)
	}
	benchmark(b, &schema.Envelope{Text: &text10KB, Attachments: []schema.Attachment{{Filename: "a.pdf", Content: content}}})
}

func BenchmarkComposeRaw(b *testing.B) {
	for name, end := range map[string]string{"CRLF": "\r\n", "LF": "\n"} {
		b.Run(name, func(b *testing.B) {
			line := strings.Repeat("x", 76) + end
			benchmark(b, &schema.Envelope{Raw: []byte("Subject: x" + end + end + strings.Repeat(line, 1<<20/len(line)))})
		})
	}
}

func benchmark(b *testing.B, e *schema.Envelope) {
	b.Helper()
	e.ID = "order-17"
	e.From = mail.Address{Name: "Shop", Email: "shop@example.com"}
	e.To = []mail.Address{{Name: "Ann", Email: "ann@example.net"}}
	e.Subject = "Your order has been sent"
	m, _ := compose(b, e)
	b.SetBytes(m.Size)
	b.ReportAllocs()
	for b.Loop() {
		m, err := Compose(e, origin, enqueued)
		if err != nil {
			b.Fatal(err)
		}
		r, err := m.Open()
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
	}
}
