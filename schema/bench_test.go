package schema

import (
	"encoding/json"
	"strings"
	"testing"
)

func BenchmarkDecodeText(b *testing.B) {
	benchmarkDecode(b, map[string]any{"text": strings.Repeat("Grüße, your order has been sent and will arrive on Tuesday.\n", 10<<10/61)})
}

func BenchmarkDecodeRecipients(b *testing.B) {
	var to []string
	for range MaxRecipients {
		to = append(to, "Ann Example <ann@example.net>")
	}
	benchmarkDecode(b, map[string]any{"text": "Hi", "to": to})
}

func benchmarkDecode(b *testing.B, e map[string]any) {
	b.Helper()
	e["id"], e["from"], e["subject"] = "order-17", "Shop <shop@example.com>", "Your order has been sent"
	if e["to"] == nil {
		e["to"] = []string{"Ann <ann@example.net>"}
	}
	body, err := json.Marshal(e)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(nil, body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAttachment(b *testing.B) {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(i * 7)
	}
	benchmarkDecode(b, map[string]any{"text": "Hi", "attachments": []any{map[string]any{"filename": "a.pdf", "content": content}}})
}

func BenchmarkDecodeHostile(b *testing.B) {
	for name, c := range hostileSizes() {
		b.Run(name, func(b *testing.B) {
			body := []byte(c[0])
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decode(nil, body); err == nil {
					b.Fatal("it passed")
				}
			}
		})
	}
}
