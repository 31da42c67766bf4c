package smtp

import "sync"

const (
	// excused is how often a message may make the relay ask for less, if the relay
	// accepts others in between. Then the message itself is why.
	excused = 10
	// mostBlamed bounds the memory.
	mostBlamed = 10000
)

// blame counts how often each message made the relay ask for less, which is not
// counted as an attempt. A message whose content makes the relay say so would be
// requeued until it expires, and stop the relay for all others each time. Any
// goroutine may use it.
type blame struct {
	mu sync.Mutex
	// accepted counts the messages that the relay accepted.
	accepted int
	of       map[string]blamed
}

type blamed struct {
	times int
	// seen is what was accepted when it was counted last.
	seen int
}

// often reports that the message has used up its excuses.
func (b *blame) often(message string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.of[message].times >= excused
}

// note counts a message that made the relay ask for less.
func (b *blame) note(message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	x, known := b.of[message]
	if known && x.seen == b.accepted {
		return
	}
	if b.of == nil || len(b.of) >= mostBlamed {
		b.of = make(map[string]blamed)
	}
	b.of[message] = blamed{x.times + 1, b.accepted}
}

// clear notes that the relay accepted the message.
func (b *blame) clear(message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.accepted++
	delete(b.of, message)
}
