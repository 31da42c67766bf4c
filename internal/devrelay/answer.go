package devrelay

import (
	"strings"
	"sync"

	gosmtp "github.com/emersion/go-smtp"
)

// refuseFirst is how often a 4xx recipient is refused before it is accepted.
const refuseFirst = 2

// enhanced are the enhanced status codes (RFC 3463) that fit a reply to RCPT;
// any other reply says x.0.0.
var enhanced = map[string]gosmtp.EnhancedCode{
	"450": {4, 2, 1}, "451": {4, 3, 0}, "452": {4, 2, 2},
	"550": {5, 1, 1}, "551": {5, 1, 6}, "552": {5, 2, 2}, "553": {5, 1, 3}, "554": {5, 7, 1},
}

// answer is the refusal that a recipient gets at RCPT, or nil. refused is how
// often it was refused before.
func answer(address string, refused int) *gosmtp.SMTPError {
	l := local(address)
	if len(l) != 3 || strings.Trim(l, "0123456789") != "" {
		return nil
	}
	kind := int(l[0] - '0')
	var text string
	switch {
	case kind == 5:
		text = "refused for good, as the address asks"
	case kind == 4 && refused < refuseFirst:
		text = "refused for now, as the address asks"
	default:
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

// refusals counts how often a recipient was refused for now. At RCPT the
// message is not known yet, so sender and recipient stand for it. Its methods
// may be called concurrently; the zero value is ready.
type refusals struct {
	mu    sync.Mutex
	count map[path]int
}

type path struct{ from, to string }

// rcpt is the reply to a RCPT: nil or an *SMTPError.
func (r *refusals) rcpt(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := path{strings.ToLower(from), strings.ToLower(to)}
	e := answer(to, r.count[p])
	if e == nil {
		delete(r.count, p)
		return nil
	}
	if e.Temporary() {
		if r.count == nil {
			r.count = make(map[path]int)
		}
		r.count[p]++
	}
	return e
}
