package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/mail"
)

// Error is what a session, or the attempt to open one, failed with: what the
// relay did, what it said, and what an administrator can do about it. An Error
// never holds the password.
type Error struct {
	// Relay is the relay's host:port.
	Relay string
	// Class is what the error means for the recipients it concerns.
	Class mail.Class
	// Stage is the step that failed. Command is the command that was answered,
	// or not answered, at that step ("AUTH"); empty if none was sent.
	Stage   mail.Stage
	Command string
	// Code, Enhanced and Reply are the relay's own words, as in [mail.Outcome];
	// Code is 0 if there was no reply.
	Code     int
	Enhanced string
	Reply    string
	// Problem is a verb phrase about the relay ("refused the connection"), Hint
	// an imperative ("start it or set SMTP_URL").
	Problem, Hint string
	// Err is the cause; nil if the reply is the cause.
	Err error

	trouble trouble
	// pause is the first before the relay is tried again; 0 means that of the Config.
	pause time.Duration
	// silent: the relay did nothing until time was over.
	silent bool
	// again is when AUTH is said again after the password was refused. The credential
	// sets it before anybody else sees the error.
	again time.Time
	// reread: a password that is changed before then is tried at the next probe.
	reread bool
}

// Error is one sentence that begins with the relay's name.
func (e *Error) Error() string { return "relay " + e.Relay + " " + e.Detail() }

// Detail is the sentence without the relay's name.
func (e *Error) Detail() string {
	switch {
	case e.Code != 0:
		return e.Problem + ": " + sayReply(e.Code, e.Enhanced, e.Reply)
	case e.Err != nil:
		return e.Problem + ": " + e.Err.Error()
	}
	return e.Problem
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Crowded reports whether the relay only wants fewer sessions. It may well serve
// those it has.
func (e *Error) Crowded() bool { return e.trouble == crowded }

// pauses are the first and the longest between probes, where those are that of the Config.
func (e *Error) pauses(first, longest time.Duration) (time.Duration, time.Duration) {
	if e.trouble == exhausted {
		longest *= exhaustedTimes
	}
	return cmp.Or(e.pause, first), max(longest, e.pause)
}

// deadSince is the time since which the relay must have been heard to be alive, if a
// session that began to be opened at that time failed so. Silence takes so long to
// notice that what was heard before it counts for nothing.
func (e *Error) deadSince(begun time.Time) time.Time {
	switch {
	case e.trouble == crowded:
		return time.Time{} // it says itself that there are others
	case e.silent:
		return begun
	}
	return begun.Add(-crowdedFor)
}

// outcome is what a message gets that needed the session.
func (e *Error) outcome() mail.Outcome {
	return mail.Outcome{
		Class: e.Class, Stage: e.Stage, Code: e.Code, Enhanced: e.Enhanced, Reply: mail.Sentence(e.Detail(), mail.MaxReply),
	}
}

// sayReply is a reply on one line.
func sayReply(code int, enhanced, text string) string {
	return strings.Join(strings.Fields(strconv.Itoa(code)+" "+enhanced+" "+text), " ")
}

// newError is an error that no message is to blame for.
func newError(stage mail.Stage, tr trouble, problem, hint string) *Error {
	return &Error{Class: mail.Requeued, Stage: stage, trouble: tr, Problem: problem, Hint: hint}
}

// replyError is for a reply that refuses a session.
func replyError(stage mail.Stage, command string, r reply, problem, hint string) *Error {
	e := newError(stage, judge(answer{stage: stage, reply: r}).trouble, problem, hint)
	e.Command = command
	return e.quote(r)
}

// quote takes over what the relay said.
func (e *Error) quote(r reply) *Error {
	e.Code, e.Enhanced, e.Reply = r.code, r.enhanced, r.text()
	return e
}

// silenceError is for a step that got no reply, or none that makes sense.
// Command is empty at the greeting.
func silenceError(stage mail.Stage, command string, err error) *Error {
	e := newError(stage, down, "", "check the relay's log")
	e.Command, e.Err = command, plain(err)
	what := command
	if what == "" {
		what = "the connection"
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		e.Problem, e.Err, e.silent = "does not answer "+what, errors.New("no reply in time"), true
	case errors.Is(err, errOutOfStep):
		e.Problem, e.Hint = "does not speak SMTP", "see what listens there, and set SMTP_URL"
	default:
		e.Problem = "hung up instead of answering " + what
	}
	return e
}

// dialError says why there is no connection.
func dialError(err error) *Error {
	e := newError(mail.StageConnect, down, "cannot be reached", "check that it runs and that SMTP_URL is right")
	e.Err = plain(err)
	var noHost *net.DNSError
	switch {
	case errors.As(err, &noHost):
		e.Problem, e.Hint = "has a name that cannot be resolved", "set SMTP_URL, or repair the name service"
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Problem, e.Hint, e.Err = "refused the connection", "start it or set SMTP_URL", nil
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.Problem, e.Err, e.silent = "does not answer the connection", errors.New("no answer in time"), true
	}
	return e
}

// handshakeError says why TLS failed. A certificate that does not verify is an
// alarm: it does not pass by itself, and clear text is no way out.
func handshakeError(err error, host string) *Error {
	e := newError(mail.StageTLS, down, "failed in the TLS handshake", "check the relay's log")
	e.Err, e.silent = plain(err), errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e.trouble, e.Err = alarming, bad.Err
		e.Problem = "has a certificate that cannot be trusted"
		e.Hint = "renew the certificate, name its authority in SMTP_CA_FILE, or use the name in SMTP_URL that it is for, or ?servername="
		if _, ok := errors.AsType[x509.HostnameError](err); ok {
			e.Problem = "has a certificate that is not for " + host
		}
		return e
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		e.Problem, e.Hint = "speaks no TLS on that port", "use smtp:// for STARTTLS, smtps:// for TLS from the start"
	}
	return e
}

// plain is err without the addresses that package net puts before it: the
// sentence names the relay already.
func plain(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err
	}
	return err
}
