package smtp

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

var tenKB = strings.Repeat("The quick brown fox jumps over the lazy dog and then it does so once more.\r\n", 137)

// BenchmarkDeliver sends messages of 10 KB through 16 sessions over loopback.
func BenchmarkDeliver(b *testing.B) {
	for _, ext := range []string{"PIPELINING", "X"} {
		b.Run(ext, func(b *testing.B) {
			server := smtptest.New(b, smtptest.Forget(), smtptest.Extensions(ext, "SIZE"))
			r := newTestRelay(b, benchConfig(server), io.Discard)
			var bad atomic.Int64
			b.SetBytes(int64(len(tenKB)))
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if tx := r.Deliver(b.Context(), mailWith(tenKB)); tx.Outcomes[0].Class != mail.Delivered {
						bad.Add(1)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
			if bad.Load() > 0 {
				b.Errorf("%d were not delivered", bad.Load())
			}
		})
	}
}

func benchConfig(server *smtptest.Server) Config {
	c := testConfig(server.URL())
	c.MaxSessions, c.MessagesPerSession = 16, 1000
	return c
}

// BenchmarkDotWriter is the cost of dot-stuffing alone.
func BenchmarkDotWriter(b *testing.B) {
	body := []byte(tenKB)
	w := dotWriter{flush: func([]byte) error { return nil }}
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		_, _ = w.Write(body)
		w.buf = w.end()[:0]
	}
}
