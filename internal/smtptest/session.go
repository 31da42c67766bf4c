package smtptest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

var errHangUp = errors.New("the script hangs up")

// session is one connection, served by one goroutine.
type session struct {
	*Server
	n    int
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	log  *transcript

	secure bool
	// proven is the user that AUTH accepted.
	proven string
	// count is the number of MAIL commands, rcpt that of the transaction's RCPTs.
	count, rcpt int
	// open: MAIL was accepted, and message is being collected.
	open    bool
	message Message
	data    []byte
}

func (s *Server) serve(conn net.Conn) {
	c := &session{Server: s, conn: conn, log: &transcript{}}
	s.mu.Lock()
	select {
	case <-s.done:
		s.mu.Unlock()
		conn.Close()
		return
	default:
	}
	s.conns[conn] = true
	s.sessions = append(s.sessions, c.log)
	s.talking++
	s.peak = max(s.peak, s.talking)
	c.n = len(s.sessions)
	s.mu.Unlock()

	c.attach(conn)
	c.talk()
	// The client may connect again as soon as it reads the last reply.
	s.mu.Lock()
	s.talking--
	s.mu.Unlock()
	c.w.Flush()
	c.conn.Close()
	s.mu.Lock()
	delete(s.conns, conn)
	s.mu.Unlock()
}

func (c *session) attach(conn net.Conn) {
	c.conn = conn
	c.r, c.w = bufio.NewReaderSize(conn, 64<<10), bufio.NewWriter(conn)
}

func (c *session) talk() {
	if c.tls != nil && c.implicit {
		if c.handshake() != nil {
			return
		}
	}
	if _, err := c.answer(Step{Verb: "CONNECT"}, "220 relay.test ESMTP"); err != nil {
		return
	}
	for {
		line, err := c.line()
		if err != nil || c.command(line) != nil {
			return
		}
	}
}

func (c *session) handshake() error {
	if err := c.w.Flush(); err != nil {
		return err
	}
	conn := tls.Server(c.conn, c.tls)
	if err := conn.Handshake(); err != nil {
		return err
	}
	c.attach(conn)
	c.secure = true
	return nil
}

// line reads a command. Replies wait in the buffer while more commands are there
// (RFC 2920 section 3.2).
func (c *session) line() (string, error) {
	if c.r.Buffered() == 0 {
		if err := c.w.Flush(); err != nil {
			return "", err
		}
	}
	line, err := c.r.ReadString('\n')
	if line != "" && !c.forget {
		c.log.add("C: ", []byte(line))
	}
	return strings.TrimRight(line, "\r\n"), err
}

// command answers one command. The error ends the session.
func (c *session) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	st := Step{Verb: strings.ToUpper(verb), Line: line}
	switch st.Verb {
	case "EHLO":
		c.reset()
		return c.reply(st, c.hello())
	case "HELO", "RSET":
		c.reset()
		return c.reply(st, "250 2.0.0 ok")
	case "STARTTLS":
		return c.startTLS(st)
	case "AUTH":
		return c.auth(st, rest)
	case "MAIL":
		return c.mail(st)
	case "RCPT":
		return c.rcptTo(st)
	case "DATA":
		return c.dataAndDot(st)
	case "NOOP":
		return c.reply(st, "250 2.0.0 ok")
	case "QUIT":
		if err := c.reply(st, "221 2.0.0 bye"); err != nil {
			return err
		}
		return errHangUp
	}
	return c.reply(st, "500 5.5.2 what is "+verb)
}

func (c *session) reset() { c.open, c.message, c.rcpt = false, Message{}, 0 }

func (c *session) hello() string {
	lines := append([]string{"relay.test"}, c.extensions...)
	if c.tls != nil && !c.secure {
		lines = append(lines, "STARTTLS")
	}
	if c.user != "" {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	return "250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1]
}

func (c *session) startTLS(st Step) error {
	r, err := c.answer(st, "220 2.0.0 go ahead")
	if err != nil || !strings.HasPrefix(r, "220") || c.tls == nil {
		return err
	}
	return c.handshake()
}

func (c *session) mail(st Step) error {
	st.Address = between(st.Line)
	c.count++
	want := "250 2.1.0 ok"
	switch {
	case c.open:
		want = "503 5.5.1 nested MAIL"
	case c.user != "" && c.proven == "":
		want = "530 5.7.0 authentication required"
	}
	st.From = st.Address
	r, err := c.answer(st, want)
	if strings.HasPrefix(r, "2") {
		c.open = true
		c.message = Message{Session: c.n, From: st.Address, TLS: c.secure, User: c.proven}
	}
	return err
}

func (c *session) rcptTo(st Step) error {
	c.rcpt++
	st.Address, st.From, st.Rcpt = between(st.Line), c.message.From, c.rcpt
	want := "250 2.1.5 ok"
	if !c.open {
		want = "503 5.5.1 MAIL first"
	}
	r, err := c.answer(st, want)
	if strings.HasPrefix(r, "2") {
		c.message.Rcpts = append(c.message.Rcpts, st.Address)
	}
	return err
}

func (c *session) dataAndDot(st Step) error {
	want := "354 go ahead"
	if !c.open || len(c.message.Rcpts) == 0 {
		want = "503 5.5.1 RCPT first"
	}
	st.From = c.message.From
	r, err := c.answer(st, want)
	if err != nil || !strings.HasPrefix(r, "354") {
		return err
	}
	if err := c.body(); err != nil {
		return err
	}
	return c.dot()
}

// dot answers the final dot and keeps what it accepts.
func (c *session) dot() error {
	st := Step{Verb: "DOT", From: c.message.From, Data: c.data}
	m := c.message
	defer c.reset()
	want := "250 2.0.0 Ok: queued as " + queueID(c.n, c.count)
	if len(m.Rcpts) == 0 {
		want = "554 5.5.1 no valid recipients"
	}
	a := c.ask(st)
	if a == nil {
		a = &Answer{Reply: want}
	}
	if accepts(a) {
		m.At, m.Data = time.Now(), c.data
		c.keep(m)
	}
	err := c.perform(a)
	if err == nil {
		err = c.w.Flush()
	}
	if accepts(a) && c.replied != nil {
		c.replied(&m, err)
	}
	return err
}

func accepts(a *Answer) bool { return strings.HasPrefix(a.Reply, "2") }

func (c *session) keep(m Message) {
	if c.received != nil {
		c.received(&m)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.accepted++
	if !c.forget {
		m.Data = bytes.Clone(m.Data)
		c.messages = append(c.messages, m)
	}
}

// between is the text between the angle brackets.
func between(line string) string {
	_, s, _ := strings.Cut(line, "<")
	if i := strings.LastIndexByte(s, '>'); i >= 0 {
		return s[:i]
	}
	return s
}
