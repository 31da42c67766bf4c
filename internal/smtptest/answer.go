package smtptest

import (
	"bytes"
	"crypto/tls"
	"net"
	"strconv"
	"strings"
	"time"
)

// ask returns the first answer of a script to a step, or nil.
func (c *session) ask(st Step) *Answer {
	st.Session, st.Message = c.n, c.count
	for _, f := range c.scripts {
		if a := f(st); a != nil {
			return a
		}
	}
	return nil
}

// answer performs the scripts' answer, or else replies with want. It returns the
// reply that was given.
func (c *session) answer(st Step, want string) (string, error) {
	a := c.ask(st)
	if a == nil {
		return want, c.send(want + "\r\n")
	}
	return a.Reply + a.Raw, c.perform(a)
}

func (c *session) reply(st Step, want string) error {
	_, err := c.answer(st, want)
	return err
}

func (c *session) perform(a *Answer) error {
	if a.Until != nil || a.Delay > 0 || a.Drip > 0 {
		// Earlier replies must arrive before the pause.
		if err := c.w.Flush(); err != nil {
			return err
		}
	}
	if !c.stall(a.Until) || !c.pause(a.Delay) {
		return errHangUp
	}
	out := a.Raw
	if out == "" && a.Reply != "" {
		out = a.Reply + "\r\n"
	}
	if a.Drip > 0 {
		if err := c.drip(out, a.Drip); err != nil {
			return err
		}
	} else if err := c.send(out); err != nil {
		return err
	}
	switch {
	case a.Stall:
		if err := c.w.Flush(); err != nil {
			return err
		}
		<-c.done
		return errHangUp
	case a.Reset:
		c.breakOff()
		return errHangUp
	case a.HangUp:
		return errHangUp
	}
	return nil
}

// breakOff makes the connection end with a RST when it is closed.
func (c *session) breakOff() {
	conn := c.conn
	if secured, ok := conn.(*tls.Conn); ok {
		conn = secured.NetConn()
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// stall waits until the channel is closed; false if the relay ends first.
func (c *session) stall(until <-chan struct{}) bool {
	if until == nil {
		return true
	}
	select {
	case <-until:
		return true
	case <-c.done:
		return false
	}
}

func (c *session) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.done:
		return false
	}
}

func (c *session) drip(out string, every time.Duration) error {
	for i := range len(out) {
		if !c.pause(every) {
			return errHangUp
		}
		if err := c.send(out[i : i+1]); err != nil {
			return err
		}
		if err := c.w.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (c *session) send(out string) error {
	if !c.forget && out != "" {
		for line := range strings.SplitAfterSeq(out, "\n") {
			if line != "" {
				c.log.add("S: ", []byte(line))
			}
		}
	}
	_, err := c.w.WriteString(out)
	return err
}

// body reads up to the final dot: a line of one dot, ended by CRLF, after a line
// ended by CRLF. No other form ends the body (RFC 5321 section 4.1.1.4).
func (c *session) body() error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	if a := c.ask(Step{Verb: "BODY", From: c.message.From}); a != nil {
		if err := c.perform(a); err != nil {
			return err
		}
		if err := c.w.Flush(); err != nil {
			return err
		}
	}
	c.data = c.data[:0]
	lineStart := true
	for {
		// A line longer than the buffer comes in parts.
		part, err := c.r.ReadSlice('\n')
		if err != nil && len(part) < c.r.Size() {
			return err
		}
		if !c.forget {
			c.log.add("C: ", part)
		}
		ended := bytes.HasSuffix(part, []byte("\r\n"))
		if lineStart && len(part) > 0 && part[0] == '.' {
			if string(part) == ".\r\n" {
				return nil
			}
			part = part[1:]
		}
		c.data = append(c.data, part...)
		lineStart = ended
	}
}

func queueID(session, n int) string {
	return strconv.Itoa(session) + "-" + strconv.Itoa(n)
}
