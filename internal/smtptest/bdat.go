package smtptest

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// bdat reads a chunk (RFC 3030) and answers it. A script that answers BDAT with 500 or
// 502 plays a relay that does not know it and takes the chunk for commands; with a
// positive reply, one that takes it whatever was refused before. The reply to the last
// chunk is that of the step DOT.
func (c *session) bdat(st Step, rest string) error {
	size, last := strings.CutSuffix(strings.ToUpper(rest), " LAST")
	n, err := strconv.Atoi(size)
	if err != nil || !slices.Contains(c.extensions, "CHUNKING") {
		return c.reply(st, "500 5.5.1 what is BDAT")
	}
	st.From = c.message.From
	a := c.ask(st)
	if a != nil && (strings.HasPrefix(a.Reply, "500") || strings.HasPrefix(a.Reply, "502")) {
		return c.perform(a)
	}
	if early := c.early(last); early != nil {
		return early
	}
	had := len(c.data)
	c.data = append(c.data, make([]byte, n)...)
	if _, err := io.ReadFull(c.r, c.data[had:]); err != nil {
		return err
	}
	if !c.forget {
		for line := range bytes.SplitAfterSeq(c.data[had:], []byte("\n")) {
			c.log.add("C: ", line)
		}
	}
	switch {
	case a != nil && !accepts(a):
		return c.perform(a)
	case a == nil && (!c.open || len(c.message.Rcpts) == 0):
		c.data = c.data[:0]
		return c.reply(st, "503 5.5.1 RCPT first")
	case last:
		return c.dot()
	case a != nil:
		return c.perform(a)
	}
	return c.send(fmt.Sprintf("250 2.0.0 %d octets\r\n", n))
}

// early performs what the scripts answer to the first line of a body.
func (c *session) early(body bool) error {
	if !body {
		return nil
	}
	a := c.ask(Step{Verb: "BODY", From: c.message.From})
	if a == nil {
		return nil
	}
	if err := c.perform(a); err != nil {
		return err
	}
	return c.w.Flush()
}
