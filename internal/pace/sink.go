package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// far says where a relay is and what it offers.
type far struct {
	// rtt is the time of a round trip to it.
	rtt time.Duration
	// plain: it does not offer CHUNKING.
	plain bool
}

// sink is a relay that keeps nothing of a mail but its id.
type sink struct {
	relay *smtptest.Server
	// addr is where it is reached.
	addr  string
	close func()
	// done is closed when each mail was accepted once.
	done chan struct{}

	mu    sync.Mutex
	want  int
	times map[string]int
	last  time.Time // when done was closed
}

func newSink(want int, f far) (*sink, error) {
	s := &sink{want: want, times: make(map[string]int, want), done: make(chan struct{})}
	offers := []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0"}
	if !f.plain {
		offers = append(offers, "CHUNKING")
	}
	var err error
	if s.relay, err = smtptest.Start(smtptest.Forget(), smtptest.Received(s.received), smtptest.Extensions(offers...)); err != nil {
		return nil, err
	}
	s.addr, s.close = s.relay.Addr(), s.relay.Close
	if f.rtt == 0 {
		return s, nil
	}
	way, err := lengthen(s.addr, f.rtt/2)
	if err != nil {
		s.relay.Close()
		return nil, err
	}
	s.addr, s.close = way.addr(), func() {
		way.close()
		s.relay.Close()
	}
	return s, nil
}

func (s *sink) received(m *smtptest.Message) {
	id := strings.TrimSuffix(m.Rcpts[0], domain)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[id]++
	if s.times[id] == 1 && len(s.times) == s.want {
		s.last = time.Now()
		close(s.done)
	}
}

// wait returns when the last mail was accepted.
func (s *sink) wait(ctx context.Context) (time.Time, error) {
	select {
	case <-s.done:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if missing := s.want - len(s.times); missing > 0 {
		return s.last, fmt.Errorf("the relay did not accept %d of %d mails in time: %w", missing, s.want, ctx.Err())
	}
	return s.last, nil
}

// twice are the ids of mails that were accepted more than once.
func (s *sink) twice() (ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.times {
		if n > 1 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
