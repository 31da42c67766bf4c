package devrelay

import (
	"bufio"
	"io"
	"sync"
	"time"

	gosmtp "github.com/emersion/go-smtp"
)

var (
	// RFC 5321 section 3.8: a server that shuts down answers 421.
	errClosing = &gosmtp.SMTPError{Code: 421, EnhancedCode: gosmtp.EnhancedCode{4, 3, 2}, Message: "the relay is closing"}
	// RFC 5321 section 4.5.3.1.10: the client is to send this one in another transaction.
	errAlone = &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 5, 3}, Message: "a 4xx recipient has a transaction alone"}
	// RFC 5321 section 4.2.3 and RFC 3463 section 3.4: the system's storage.
	errDisk = &gosmtp.SMTPError{Code: 452, EnhancedCode: gosmtp.EnhancedCode{4, 3, 1}, Message: "the mail cannot be stored here now"}
)

// session is one connection. With BDAT the server calls Data on a goroutine of
// its own, beside Reset and Logout, so the fields are locked.
type session struct {
	relay *Relay

	mu     sync.Mutex
	taken  bool   // a recipient is accepted
	defers string // the recipient, if it is a 4xx one
	slow   bool
	busy   bool // counted in relay.busy
}

// Mail begins a transaction.
func (s *session) Mail(string, *gosmtp.MailOptions) error { return nil }

// Rcpt answers by the recipient.
func (s *session) Rcpt(to string, _ *gosmtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	refusal := answer(to)
	switch {
	case refusal != nil && !refusal.Temporary():
		return refusal
	case s.defers != "", refusal != nil && s.taken:
		return errAlone
	case refusal != nil:
		s.defers = to
	}
	s.taken, s.slow = true, s.slow || isSlow(to)
	return nil
}

// Data keeps the message, or refuses it for now. The server has a fixed text for success,
// so the queue id goes back as an SMTPError with the code 250.
func (s *session) Data(r io.Reader) error {
	if !s.begin() {
		return errClosing
	}
	in := &source{r: r}
	head := bufio.NewReaderSize(in, maxHead)
	if err := s.refusal(head); err != nil {
		return err
	}
	id, err := s.relay.store.keep(head)
	if in.err != nil {
		return in.err // the client's side; the server knows its replies, as 552
	}
	if err != nil {
		s.relay.log.Error("The development relay cannot store a mail; is the disk full?", "error", err)
		return errDisk
	}
	s.relay.log.Debug("The development relay keeps a mail.", "queue_id", id)
	s.wait()
	return &gosmtp.SMTPError{Code: 250, EnhancedCode: gosmtp.EnhancedCode{2, 0, 0}, Message: "queued as " + id}
}

// refusal is the reply for now to a 4xx recipient, or nil.
func (s *session) refusal(message *bufio.Reader) error {
	s.mu.Lock()
	to := s.defers
	s.mu.Unlock()
	if to == "" {
		return nil
	}
	head, err := message.Peek(maxHead)
	if err != nil && err != io.EOF {
		return err
	}
	if !s.relay.refusals.another(messageID(head), to) {
		return nil
	}
	return answer(to)
}

// wait stalls if a recipient asked for it. The mail is stored already: who
// gives up waiting cannot know that.
func (s *session) wait() {
	s.mu.Lock()
	slow := s.slow
	s.mu.Unlock()
	if !slow {
		return
	}
	t := time.NewTimer(s.relay.stall)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.relay.stopping:
	}
}

func (s *session) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.busy {
		s.busy = s.relay.begin()
	}
	return s.busy
}

// Reset ends a transaction. After a message the server calls it behind the
// reply, so that Close does not cut the reply off.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy {
		s.relay.busy.Done()
	}
	s.taken, s.defers, s.slow, s.busy = false, "", false, false
}

// Logout ends the connection.
func (s *session) Logout() error {
	s.Reset()
	return nil
}

// source remembers why reading stopped short, to tell the client's failures
// from the disk's.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
