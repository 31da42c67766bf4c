package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/postrider/postrider/mail"
)

// fault is what is wrong with the relay: why a session could not be opened, or
// why no mail should be sent for now. It never holds a password.
type fault struct {
	stage mail.Stage
	// reply is what the relay said; the zero reply where it said nothing.
	reply   reply
	trouble trouble
	// what says what happened ("refused the connection"), todo what to do.
	what string
	todo string
	err  error
}

// Error is one sentence without the relay's name: what happened, in the relay's
// words where it said any.
func (f *fault) Error() string {
	switch {
	case f.reply.code != 0:
		return fmt.Sprintf("%s: %s", f.what, sayReply(f.reply))
	case f.err != nil:
		return fmt.Sprintf("%s: %v", f.what, f.err)
	}
	return f.what
}

// Unwrap is the cause, where there is one.
func (f *fault) Unwrap() error { return f.err }

func sayReply(r reply) string {
	return strings.Join(strings.Fields(fmt.Sprint(r.code, " ", r.enhanced, " ", r.text())), " ")
}

// replyFault is a reply that refuses a session.
func replyFault(stage mail.Stage, r reply, what, todo string) *fault {
	return &fault{stage: stage, reply: r, trouble: judge(answer{stage: stage, reply: r}).trouble, what: what, todo: todo}
}

// wireFault is a step at which no reply came.
func wireFault(stage mail.Stage, err error, command string) *fault {
	f := &fault{stage: stage, trouble: down, err: plain(err), todo: "look at the relay's log"}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.what, f.err = "does not answer to "+command, errors.New("no reply in time")
	case errors.Is(err, errOutOfStep):
		f.what, f.todo = "does not speak SMTP", "see what listens there, and set SMTP_URL"
	default:
		f.what = "hung up instead of answering to " + command
	}
	return f
}

// dialFault says why there is no connection.
func dialFault(err error) *fault {
	f := &fault{stage: mail.StageConnect, trouble: down, err: plain(err), what: "cannot be reached", todo: "see that it runs and that SMTP_URL is right"}
	var noHost *net.DNSError
	switch {
	case errors.As(err, &noHost):
		f.what, f.todo = "has a name that cannot be resolved", "set SMTP_URL, or mend the name service"
	case errors.Is(err, syscall.ECONNREFUSED):
		f.what, f.todo, f.err = "refused the connection", "start it or set SMTP_URL", nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		f.what, f.err = "does not answer to the connection", errors.New("no answer in time")
	}
	return f
}

// handshakeFault says why TLS failed. A certificate that does not verify is an
// alarm: it does not pass by itself, and clear text is no way out.
func handshakeFault(err error, host string) *fault {
	f := &fault{stage: mail.StageTLS, trouble: down, err: plain(err), what: "failed in the TLS handshake", todo: "look at the relay's log"}
	bad, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	if isCert {
		f.trouble, f.err = alarming, bad.Err
		f.what = "has a certificate that cannot be trusted"
		f.todo = "mend the certificate, name its authority in SMTP_CA_FILE, or use the name in SMTP_URL that it is for"
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			f.what = "has a certificate that is not for " + host
		}
		return f
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		f.what, f.todo = "speaks no TLS on that port", "use smtp:// for STARTTLS, smtps:// for TLS from the start"
	}
	return f
}

// plain is err without the addresses that net puts before it: the relay's name
// stands in the sentence already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}
