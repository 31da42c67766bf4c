package main

import (
	"errors"
	"net"
	"sync"
	"time"
)

// longWay passes on connections, each byte after a delay. It does not slow them down
// otherwise: as much as comes in is under way at once.
type longWay struct {
	listener net.Listener
	to       string
	delay    time.Duration

	mu    sync.Mutex
	conns []net.Conn
	all   sync.WaitGroup
}

func lengthen(to string, delay time.Duration) (*longWay, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	w := &longWay{listener: l, to: to, delay: delay}
	w.all.Go(w.accept)
	return w, nil
}

func (w *longWay) addr() string { return w.listener.Addr().String() }

func (w *longWay) close() {
	_ = w.listener.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.mu.Unlock()
	w.all.Wait()
}

func (w *longWay) accept() {
	for {
		near, err := w.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		far, err := net.Dial("tcp", w.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, near, far)
		w.mu.Unlock()
		w.all.Go(func() { w.pass(near, far) })
		w.all.Go(func() { w.pass(far, near) })
	}
}

// parcel is what was read at once, and when it is to arrive.
type parcel struct {
	at time.Time
	b  []byte
}

// pass carries what comes from one connection to the other, and then its end.
func (w *longWay) pass(from, to net.Conn) {
	under := make(chan parcel, 1<<12)
	w.all.Go(func() {
		for p := range under {
			time.Sleep(time.Until(p.at))
			if _, err := to.Write(p.b); err != nil {
				_ = from.Close()
			}
		}
		_ = to.(*net.TCPConn).CloseWrite() //nolint:forcetypeassert // it is one
	})
	defer close(under)
	for {
		b := make([]byte, 32<<10)
		n, err := from.Read(b)
		if n > 0 {
			under <- parcel{time.Now().Add(w.delay), b[:n]}
		}
		if err != nil {
			return
		}
	}
}
