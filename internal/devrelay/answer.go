package devrelay

import (
	"strings"
	"sync"

	gosmtp "github.com/emersion/go-smtp"
)

// refuseFirst is how often a 4xx recipient is refused before it is accepted.
const refuseFirst = 2

// enhanced are the enhanced status codes (RFC 3463) that fit a refused recipient; any
// other reply says x.0.0.
var enhanced = map[string]gosmtp.EnhancedCode{
	"450": {4, 2, 1}, "451": {4, 3, 0}, "452": {4, 2, 2},
	"550": {5, 1, 1}, "551": {5, 1, 6}, "552": {5, 2, 2}, "553": {5, 1, 3}, "554": {5, 7, 1},
}

// answer is the refusal that a recipient asks for, or nil.
func answer(address string) *gosmtp.SMTPError {
	l := local(address)
	if len(l) != 3 || strings.Trim(l, "0123456789") != "" {
		return nil
	}
	kind := int(l[0] - '0')
	text, ok := map[int]string{4: "refused for now, as the address asks", 5: "refused for good, as the address asks"}[kind]
	if !ok {
		return nil
	}
	e, ok := enhanced[l]
	if !ok {
		e = gosmtp.EnhancedCode{kind, 0, 0}
	}
	return &gosmtp.SMTPError{Code: kind*100 + int(l[1]-'0')*10 + int(l[2]-'0'), EnhancedCode: e, Message: text}
}

// isSlow reports the recipients that make the final reply wait.
func isSlow(address string) bool { return strings.EqualFold(local(address), "slow") }

func local(address string) string {
	return address[:max(strings.LastIndexByte(address, '@'), 0)]
}

// refusals counts how often a recipient of a message was refused for now. Its methods
// may be called concurrently; the zero value is ready.
type refusals struct {
	mu    sync.Mutex
	count map[copyFor]int
}

// copyFor is a message, by its Message-ID, for one recipient.
type copyFor struct{ message, to string }

// another reports that the message is to be refused once more, and counts that. After the
// last refusal it begins again.
func (r *refusals) another(message, to string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := copyFor{message, strings.ToLower(to)}
	if r.count[c] == refuseFirst {
		delete(r.count, c)
		return false
	}
	if r.count == nil {
		r.count = make(map[copyFor]int)
	}
	r.count[c]++
	return true
}
