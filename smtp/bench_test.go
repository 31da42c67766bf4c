package smtp

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

var tenKB = "Subject: ten\r\n\r\n" + strings.Repeat("The quick brown fox jumps over the lazy dog and then it does so once more.\r\n", 137)

// BenchmarkDeliver sends messages of 10 KB through sessions over loopback, and to a relay
// that is 20 ms away. Each way has as many callers as it has room for: one for a session,
// as without a window, or as many as may be in the air.
func BenchmarkDeliver(b *testing.B) {
	for _, path := range []struct {
		name     string
		sessions int
		rtt      time.Duration
	}{{"loopback", 16, 0}, {"20ms", 8, 20 * time.Millisecond}} {
		for _, way := range []struct {
			name, ext string
			window    int
		}{{"one by one", "SIZE", 1}, {"a group", byData, 1}, {"behind the dot", byData, 2}, {"at once", byChunk, widest}} {
			b.Run(path.name+"/"+way.name, func(b *testing.B) {
				server := smtptest.New(b, smtptest.Forget(), smtptest.Extensions(strings.Split(way.ext, ",")...))
				r := newTestRelay(b, benchConfig(server, path.sessions), io.Discard)
				if path.rtt > 0 {
					r.dialer.connect = distant(server.Addr(), path.rtt)
				}
				flood(b, r, path.sessions*way.window)
			})
		}
	}
}

// flood sends b.N messages from so many callers, after a few that open the window.
func flood(b *testing.B, r *Relay, callers int) {
	var bad, left atomic.Int64
	send := func(n int) {
		left.Store(int64(n))
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					if tx := r.Deliver(b.Context(), mailWith(tenKB)); tx.Outcomes[0].Class != mail.Delivered {
						bad.Add(1)
					}
				}
			})
		}
		wg.Wait()
	}
	send(4 * callers)
	b.SetBytes(int64(len(tenKB)))
	before := cpu()
	b.ResetTimer()
	send(b.N)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric((cpu()-before).Seconds()*1000/float64(b.N), "cpu-s/1000")
	if bad.Load() > 0 {
		b.Errorf("%d were not delivered", bad.Load())
	}
}

// cpu is what the process has used, the relay's part included.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// distant connects through pipes in which everything takes half of rtt each way.
func distant(addr string, rtt time.Duration) func(context.Context, string) (net.Conn, error) {
	return func(context.Context, string) (net.Conn, error) {
		far, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ours, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, err
		}
		near, err := l.Accept()
		if err != nil {
			return nil, err
		}
		go delay(far, near, rtt/2)
		go delay(near, far, rtt/2)
		return ours, nil
	}
}

// delay copies until one of both ends, and closes the other one.
func delay(to, from net.Conn, by time.Duration) {
	type part struct {
		at time.Time
		b  []byte
	}
	parts := make(chan part, 1<<12)
	go func() {
		defer close(parts)
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if n > 0 {
				parts <- part{time.Now().Add(by), b[:n]}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range parts {
		time.Sleep(time.Until(p.at))
		_, _ = to.Write(p.b)
	}
	to.Close()
}

func benchConfig(server *smtptest.Server, sessions int) Config {
	c := testConfig(server.URL())
	c.MaxSessions, c.MessagesPerSession = sessions, 100000
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
