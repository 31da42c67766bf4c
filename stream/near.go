package stream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// nearMost is the number of subjects of one request; the server takes 1,024.
	nearMost = 256
	// nearLeast is the number from which on one request is cheaper than as many.
	nearLeast = 4
)

// Near is the store of a broker that has one replica of each stream, as the embedded one
// has. It reads the last message of a subject by a direct get, at a fraction of the cost, and
// what many goroutines read at the same time with one request. Of several replicas any one
// would answer, which may be behind.
func (s *Store) Near() *Store {
	near := &Store{nc: s.nc}
	near.near = &nearReads{store: near}
	return near
}

// nearReads are reads of last messages by direct gets. While one request is on its way,
// those who come next are collected for the next one. A lone read waits for nobody.
type nearReads struct {
	store *Store

	mu      sync.Mutex
	waiting []*nearRead
	// running: a goroutine reads for those who wait.
	running bool
}

// nearRead is one read that waits. It is answered once; without a message and an error the
// API has to be asked.
type nearRead struct {
	stream, subject string
	m               *jetstream.RawStreamMsg
	err             error
	done            chan struct{}
}

// last is the last message on a subject. It is nil without an error if the API has to be
// asked.
func (n *nearReads) last(ctx context.Context, stream, subject string) (*jetstream.RawStreamMsg, error) {
	if n == nil || strings.ContainsAny(subject, "*>") || !n.store.nc.IsConnected() {
		return nil, nil
	}
	r := &nearRead{stream: stream, subject: subject, done: make(chan struct{})}
	n.mu.Lock()
	n.waiting = append(n.waiting, r)
	if !n.running {
		n.running = true
		go n.run() //nolint:gosec // it reads for others too
	}
	n.mu.Unlock()
	select {
	case <-r.done:
		return r.m, r.err
	case <-ctx.Done():
		return nil, unanswered(context.Cause(ctx))
	}
}

// run reads until nobody waits.
func (n *nearReads) run() {
	for {
		all := n.next()
		if len(all) == 0 {
			return
		}
		ctx, cancel := n.unlessLost()
		if len(all) < nearLeast {
			n.singly(ctx, all)
		} else {
			n.together(ctx, all)
		}
		cancel()
	}
}

// lookEvery is how often a read looks whether its answer can still come.
const lookEvery = 100 * time.Millisecond

// unlessLost is a context for a read, which ends if the connection is lost: those who come
// later must not wait for an answer that does not come.
func (n *nearReads) unlessLost() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	reconnects := n.store.nc.Stats().Reconnects
	var look func()
	look = func() {
		if !n.store.nc.IsConnected() || n.store.nc.Stats().Reconnects != reconnects {
			cancel()
		} else if ctx.Err() == nil {
			time.AfterFunc(lookEvery, look)
		}
	}
	time.AfterFunc(lookEvery, look)
	return ctx, cancel
}

// next takes those who wait for a message of the stream that comes first, by subject. With
// nobody left the goroutine must end.
func (n *nearReads) next() map[string][]*nearRead {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string][]*nearRead{}
	var left []*nearRead
	for _, r := range n.waiting {
		if r.stream != n.waiting[0].stream || len(all) == nearMost {
			left = append(left, r)
			continue
		}
		all[r.subject] = append(all[r.subject], r)
	}
	n.waiting, n.running = left, len(all) > 0
	return all
}

// singly reads the message of each subject by itself, all at once.
func (n *nearReads) singly(ctx context.Context, all map[string][]*nearRead) {
	var reads sync.WaitGroup
	for _, those := range all {
		reads.Go(func() { n.get(ctx, those) })
	}
	reads.Wait()
}

// get reads the message of one subject.
func (n *nearReads) get(ctx context.Context, those []*nearRead) {
	m, err := n.store.nc.RequestWithContext(ctx, "$JS.API.DIRECT.GET."+those[0].stream+"."+those[0].subject, nil)
	switch {
	case errors.Is(err, nats.ErrNoResponders): // the stream has no AllowDirect, or is not there
		answer(those, nil, nil)
		return
	case err != nil:
		answer(those, nil, unanswered(err))
		return
	}
	x := decodeDirect(m)
	if x == nil && m.Header.Get("Status") == "404" {
		answer(those, nil, notThere(m.Header))
		return
	}
	answer(those, x, nil) // nil if its headers cannot be read
}

// together reads the messages of several subjects with one request. All are of one
// moment, because the server writes nothing meanwhile.
func (n *nearReads) together(ctx context.Context, all map[string][]*nearRead) {
	err := n.multiGet(ctx, all)
	for _, those := range all {
		answer(those, nil, err)
	}
}

// multiGet asks for the last message of each subject (NATS ADR-31). It answers those for
// whom there is one, and removes them. The error is that of the others; without one they
// have to ask the API.
func (n *nearReads) multiGet(ctx context.Context, all map[string][]*nearRead) error {
	subjects := slices.Sorted(maps.Keys(all))
	sub, err := n.store.askDirect(all[subjects[0]][0].stream, map[string]any{"multi_last": subjects, "max_bytes": directBytes})
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	for {
		m, err := sub.NextMsgWithContext(ctx)
		switch {
		case errors.Is(err, nats.ErrNoResponders):
			return nil
		case err != nil:
			return unanswered(err)
		}
		if x := decodeDirect(m); x != nil {
			answer(all[x.Subject], x, nil)
			delete(all, x.Subject)
			continue
		}
		if m.Header == nil || ended(m.Header) != nil || m.Header.Get(headerPending) > "0" {
			return nil // a message that cannot be read, a refusal, or not all of them
		}
		return notThere(m.Header)
	}
}

func notThere(h nats.Header) error {
	return fmt.Errorf("%w: %s", ErrNotFound, h.Get("Description"))
}

func answer(those []*nearRead, m *jetstream.RawStreamMsg, err error) {
	for _, r := range those {
		r.m, r.err = m, err
		close(r.done)
	}
}
