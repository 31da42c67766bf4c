package e2e

import (
	"net"
	"sync"
	"testing"
	"time"
)

// slowWire is a way to an address that passes so many bytes a second in each direction,
// those of all its connections together. It buffers little: a sender that is faster has
// to wait.
func slowWire(t *testing.T, to string, rate int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var passing sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		passing.Wait()
	})
	there, back := &pace{rate: rate}, &pace{rate: rate}
	passing.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				near.Close()
				continue
			}
			passing.Go(func() { pass(far, near, there) })
			passing.Go(func() { pass(near, far, back) })
		}
	})
	return l.Addr().String()
}

// pass passes bytes on until one of the two ends, and then ends the other.
func pass(to, from net.Conn, p *pace) {
	defer to.Close()
	defer from.Close()
	_ = from.(*net.TCPConn).SetReadBuffer(64 << 10)
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		p.wait(n)
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// pace is that of one direction.
type pace struct {
	rate int
	mu   sync.Mutex
	free time.Time // when what was passed on so far is through
}

// wait returns when n more bytes are through.
func (p *pace) wait(n int) {
	p.mu.Lock()
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	through := p.free
	p.mu.Unlock()
	time.Sleep(time.Until(through))
}
