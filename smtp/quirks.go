package smtp

import (
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// quirkFor is how long an extension is left alone that the relay offers and cannot
// do. Then it is tried again: the relay may have been repaired.
const quirkFor = 24 * time.Hour

// quirk is an extension that a relay may offer and not do.
type quirk int

const (
	// groups: PIPELINING is offered, and a group of commands is not answered.
	groups quirk = iota
	// sizes: SIZE is offered, and MAIL with SIZE is refused.
	sizes
	// bodies: 8BITMIME is offered, and MAIL with BODY=8BITMIME is refused.
	bodies
)

// quirks are those that were found at one relay. Any goroutine may use them.
type quirks struct {
	name string
	log  *slog.Logger

	mu    sync.Mutex
	until [3]time.Time // by quirk
}

// has reports that the relay cannot do it.
func (q *quirks) has(x quirk) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return time.Now().Before(q.until[x])
}

// found notes a quirk, and logs it if it is news.
func (q *quirks) found(x quirk) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if now.Before(q.until[x]) {
		return
	}
	q.until[x] = now.Add(quirkFor)
	what, keyword := "did not answer commands that were sent together: for a day they are sent one by one", "PIPELINING"
	switch x {
	case sizes:
		what, keyword = "refused MAIL with SIZE and accepted it without: for a day SIZE is left out", "SIZE"
	case bodies:
		what, keyword = "refused MAIL with BODY=8BITMIME and accepted it without: for a day BODY is left out", "8BITMIME"
	}
	q.log.Info(fmt.Sprintf("relay %s offers %s, but %s; if it never can, set SMTP_DISCARD_EHLO=%s", q.name, keyword, what, keyword), "relay", q.name)
}
