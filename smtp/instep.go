package smtp

import (
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/postrider/postrider/mail"
)

// Which command a reply answers follows from their order alone. If a relay says one reply too
// many or too few, each one after it is taken for that to another command, and a message that
// was refused is called accepted. While commands wait for their replies, that shows; with
// several messages in the air nothing shows it but the replies. So each of them begins with
// RSET, and what looks like the reply to RSET must come there and nowhere else. How it looks
// is learned from the first message of a session, whose commands wait.
//
// If another reply looks the same, messages go with DATA: its own reply, 354, keeps the step.

// mark is what is known of the reply to RSET on a session.
type mark struct {
	// kind is how it looks; empty until RSET was answered. Who has the read turn uses it.
	kind string
	// known is what was learned.
	known atomic.Int32
}

const (
	unlearned int32 = iota
	// apart: no other reply looks like it.
	apart
	// alike: another one does, or RSET is refused.
	alike
)

// learns reports that it is not known yet how the reply to RSET looks, and should be.
func (s *session) learns() bool {
	return s.ext.chunking && s.mark.known.Load() == unlearned && s.pipelines() && !s.quirks.has(chunks)
}

// kind is how a reply looks: its codes and its first words, without what differs from one
// message to the next.
func (r reply) kind() string {
	all := []string{strconv.Itoa(r.code), r.enhanced}
	if len(r.lines) > 0 {
		for _, word := range strings.Fields(r.lines[0]) {
			word = strings.ToLower(strings.Trim(word, ".,:;!-"))
			if len(all) < 4 && word != "" && !strings.ContainsAny(word, "0123456789@<>[]=") {
				all = append(all, word)
			}
		}
	}
	return strings.Join(all, " ")
}

// errStray: a reply came where another one must be.
var errStray = fmt.Errorf("%w: it replied to RSET at another command, or to another one at RSET", errOutOfStep)

// stray reports that a reply is not that to its command. While the session still learns, it
// notes what it can.
func (f *flight) stray(stage mail.Stage, r reply) bool {
	m := &f.session.mark
	like := r.positive() && m.kind != "" && r.kind() == m.kind
	switch {
	case m.known.Load() == apart && stage == mail.StageDot && like && !f.followed():
		m.known.Store(alike) // nobody has said RSET, so it is what it is
	case m.known.Load() == apart:
		return r.code != 421 && like != (stage == stageReset)
	case !f.learns() || f.behind || stage == mail.StageData:
	case stage == stageReset && r.positive():
		m.kind = r.kind()
	case stage == stageReset || like:
		m.known.Store(alike)
	case stage == mail.StageDot && r.positive() && m.kind != "":
		m.known.Store(apart)
	}
	return false
}
