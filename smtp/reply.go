package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/postrider/postrider/mail"
)

// Bounds of a reply. RFC 5321 section 4.5.3.1.5 allows 512 octets a line; some
// relays send more.
const (
	maxReplyLine  = 2000
	maxReplyLines = 200
	maxReplyBytes = 64 << 10
)

// errOutOfStep: what was read is no reply, so nothing that follows can be matched
// with a command. It is treated like a hang-up.
var errOutOfStep = errors.New("the relay is out of step")

// reply is the answer to one command (RFC 5321 section 4.2).
type reply struct {
	code int
	// enhanced is the enhanced status code of the last line, as sent, or empty.
	enhanced string
	// lines are the texts, without codes and line ends.
	lines []string
}

// positive reports a 2yz reply.
func (r reply) positive() bool { return r.code/100 == 2 }

// text is all lines as one sentence that is safe to log.
func (r reply) text() string {
	return mail.Sentence(strings.Join(r.lines, " / "), mail.MaxReply)
}

// readReply reads one reply, of one line or many. The last line's code counts.
// Words that repeat the password are withheld.
func readReply(br *bufio.Reader, e echoes) (reply, error) {
	var r reply
	total := 0
	for range maxReplyLines {
		line, err := readReplyLine(br)
		if err != nil {
			return reply{}, err
		}
		if len(line) == 0 && len(r.lines) == 0 {
			continue // some relays send an empty line between replies
		}
		if total += len(line); total > maxReplyBytes {
			return reply{}, fmt.Errorf("%w: its reply is longer than %d bytes", errOutOfStep, maxReplyBytes)
		}
		code, more, text, ok := splitReplyLine(line)
		if !ok {
			words := mail.Sentence(string(line), 80)
			if e.in(string(line)) {
				words = withheld
			}
			return reply{}, fmt.Errorf("%w: it sent %q, which is no reply", errOutOfStep, words)
		}
		r.code = code
		r.enhanced, text = cutEnhanced(text)
		r.lines = append(r.lines, text)
		if !more {
			return e.hide(r), nil
		}
	}
	return reply{}, fmt.Errorf("%w: its reply has more than %d lines", errOutOfStep, maxReplyLines)
}

// readReplyLine returns a line without its end, valid until the next read.
func readReplyLine(br *bufio.Reader) ([]byte, error) {
	line, err := br.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxReplyLine:
		return nil, fmt.Errorf("%w: its reply has a line of more than %d bytes", errOutOfStep, maxReplyLine)
	case err != nil:
		return nil, err
	}
	line = line[:len(line)-1]
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, nil
}

// splitReplyLine reads `code SP text`, `code "-" text` or a bare code
// (RFC 5321 section 4.2.1). Some relays forget the space, or send a tab: three digits
// and then no digit are a code.
func splitReplyLine(line []byte) (code int, more bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !isDigit(line[1]) || !isDigit(line[2]) {
		return 0, false, "", false
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	if len(line) == 3 {
		return code, false, "", true
	}
	switch line[3] {
	case '-':
		return code, true, string(line[4:]), true
	case ' ', '\t':
		return code, false, string(line[4:]), true
	}
	return code, false, string(line[3:]), !isDigit(line[3])
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// cutEnhanced cuts the enhanced status code off the beginning of a text: class,
// subject and detail (RFC 2034 section 4, RFC 3463 section 2).
func cutEnhanced(text string) (enhanced, rest string) {
	head, rest, _ := strings.Cut(text, " ")
	class, tail, ok := strings.Cut(head, ".")
	subject, detail, ok2 := strings.Cut(tail, ".")
	if !ok || !ok2 || class != "2" && class != "4" && class != "5" || !isShortNumber(subject) || !isShortNumber(detail) {
		return "", text
	}
	return head, rest
}

func isShortNumber(s string) bool {
	return len(s) >= 1 && len(s) <= 3 && strings.Trim(s, "0123456789") == ""
}
