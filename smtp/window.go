package smtp

// Bounds of a window.
const (
	// widest is how many messages may be in the air on one session.
	widest = 8
	// calmAtFirst and calmAtMost are how many messages a relay has to accept after a
	// break before more than one may be in the air again: twice as many after each.
	calmAtFirst = 8
	calmAtMost  = 10000
)

// window is how many messages may be in the air on each session of a relay. It begins
// at one and grows with each message that the relay accepts. The pool guards it.
type window struct {
	size int
	// room is how many the relay's extensions allow, as far as is known.
	room int
	// calm is how many messages have to be accepted before it grows, after a break; next
	// is how many after the next one.
	calm, next int
	// well is how many were accepted since it was as wide as it gets.
	well int
}

func newWindow() window { return window{size: 1, room: 1, next: calmAtFirst} }

// accepted notes that the relay accepted a message.
func (p *pool) accepted(f *flight) {
	room := f.mayHave()
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &p.window
	f.room, w.room = room, room
	switch {
	case w.calm > 0:
		w.calm--
	case w.size < widest:
		w.size++
		w.well = 0
		p.serve()
	default: // a break that is long past counts less
		if w.well++; w.well >= 10*w.next {
			w.well, w.next = 0, max(w.next/2, calmAtFirst)
		}
	}
}

// broke notes that a session broke while a message was under way in it.
func (p *pool) broke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := &p.window; w.size > 1 || w.calm == 0 {
		w.size, w.calm, w.next = 1, w.next, min(2*w.next, calmAtMost)
	}
}

// capacity is how many messages may be in the air at once.
func (p *pool) capacity() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit * min(p.window.size, p.window.room)
}
