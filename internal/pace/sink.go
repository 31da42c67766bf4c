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
	// first is when each mail was accepted first, last when done was closed.
	first map[string]time.Time
	last  time.Time
}

func newSink(want int, f far, more ...smtptest.Option) (*sink, error) {
	s := &sink{want: want, times: make(map[string]int, want), first: make(map[string]time.Time, want), done: make(chan struct{})}
	offers := []string{"PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "SIZE 0"}
	if !f.plain {
		offers = append(offers, "CHUNKING")
	}
	var err error
	all := append([]smtptest.Option{smtptest.Forget(), smtptest.Received(s.received), smtptest.Extensions(offers...)}, more...)
	if s.relay, err = smtptest.Start(all...); err != nil {
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
	if s.times[id]++; s.times[id] > 1 {
		return
	}
	s.first[id] = time.Now()
	if len(s.times) == s.want {
		s.last = s.first[id]
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

// acceptedAt is when a mail was accepted first. It waits for that.
func (s *sink) acceptedAt(ctx context.Context, id string) (time.Time, error) {
	for {
		s.mu.Lock()
		at, ok := s.first[id]
		s.mu.Unlock()
		if ok {
			return at, nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the relay did not accept %s in time: %w", id, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}

// awaitSome waits until that many mails were accepted, and returns when that was so.
func (s *sink) awaitSome(ctx context.Context, n int) (time.Time, error) {
	for {
		s.mu.Lock()
		have := len(s.first)
		s.mu.Unlock()
		if have >= n {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("the relay accepted only %d of %d mails in time: %w", have, n, ctx.Err())
		case <-time.After(time.Millisecond):
		}
	}
}
