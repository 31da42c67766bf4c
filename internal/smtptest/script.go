package smtptest

import (
	"regexp"
	"strconv"
	"sync"
	"time"
)

// Step is what the client did.
type Step struct {
	// Session counts connections from 1, Message the MAIL commands of the session.
	Session, Message int
	// Verb is CONNECT, EHLO, HELO, STARTTLS, AUTH, MAIL, RCPT, DATA, BODY (at
	// the first line of it), DOT, RSET, NOOP or QUIT.
	Verb string
	// Line is the command as sent, without its end.
	Line string
	// Address is the text between the angle brackets of MAIL and RCPT.
	Address string
	// From is the sender of the transaction.
	From string
	// Rcpt counts the RCPT commands of the transaction from 1.
	Rcpt int
	// Data is the body before the DOT, without dot-stuffing. It is valid until the
	// answer is given.
	Data []byte
}

// Answer is what the relay does about a step, in the order of the fields.
type Answer struct {
	// Until stalls until the channel is closed, Delay for that time.
	Until <-chan struct{}
	Delay time.Duration
	// Reply is sent with a CRLF after it; several lines, each with its code, are
	// separated by "\r\n". It also decides: 250 to RCPT accepts the recipient,
	// anything else does not.
	Reply string
	// Raw is sent as it is, instead of Reply.
	Raw string
	// Drip sends it byte by byte with that pause.
	Drip time.Duration
	// Stall sends nothing more after that, however long the client waits.
	Stall bool
	// HangUp closes the connection, after the reply if there is one. Reset ends it
	// with a RST instead, which a pipe does not have.
	HangUp, Reset bool
}

// Script answers a step; nil leaves it to the scripts after it, and at last to the
// relay itself.
type Script func(Step) *Answer

// Scripted adds a script. The first that answers counts.
func Scripted(f Script) Option { return func(c *config) { c.scripts = append(c.scripts, f) } }

// On gives the same answer to every such command.
func On(verb string, a Answer) Option {
	return Scripted(func(st Step) *Answer {
		if st.Verb == verb {
			return &a
		}
		return nil
	})
}

var byCode = regexp.MustCompile(`^([45]\d\d)(?:x(\d+))?@`)

// ByAddress answers RCPT by the address: 550@… and 451@… (three digits) are
// refused with that code; 451x2@… twice for the same sender and recipient, and
// then accepted.
func ByAddress() Option {
	var mu sync.Mutex
	refused := make(map[[2]string]int)
	return Scripted(func(st Step) *Answer {
		if st.Verb != "RCPT" {
			return nil
		}
		m := byCode.FindStringSubmatch(st.Address)
		if m == nil {
			return nil
		}
		if times, err := strconv.Atoi(m[2]); err == nil {
			mu.Lock()
			defer mu.Unlock()
			k := [2]string{st.From, st.Address}
			if refused[k] == times {
				return nil
			}
			refused[k]++
		}
		return &Answer{Reply: m[1] + " " + m[1][:1] + ".0.0 as the address asks"}
	})
}
