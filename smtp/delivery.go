package smtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/postrider/postrider/mail"
)

// delivery is one call of [Relay.Deliver]: what is known so far, however many
// sessions it takes. It belongs to the goroutine of the call.
type delivery struct {
	ctx context.Context
	m   *mail.Message
	tx  mail.Transaction
	// circuit is the relay's.
	circuit *circuit
	// to are the positions in m.Recipients of those that can be sent to.
	to []int
	// fault is set if the relay's replies say that the relay itself is at fault.
	fault *Error
	// blamed: the relay asks for less because of this message.
	blamed bool
	// plain: the relay refused the optional parameters of MAIL; quirk says which, if it
	// accepts MAIL without.
	plain bool
	quirk quirk
	// worked: the relay accepted a MAIL; accepted: it accepted the message.
	worked, accepted bool
	// refusals are the permanent replies to recipients in this transaction.
	refusals []reply
	// refusedOnTrial: the relay refuses this one too, after a pause.
	refusedOnTrial bool
	// probe: it is the one message of a sender who is held that is tried.
	probe bool
	// rules are the operator's, at each moment.
	rules func() []Rule
	// failEightBit: a relay without 8BITMIME must not get bytes above 127.
	failEightBit bool
	// begun is when the message was admitted last, asked when it was sent last, turn its
	// turn to try the relay, reached the last step that the relay answered without a fault,
	// and passed the last one that it agreed to.
	begun, asked    time.Time
	turn            int
	reached, passed mail.Stage
}

// key names the transaction, for [blame].
func (d *delivery) key() string {
	if len(d.m.Recipients) == 0 {
		return messageKey(d.m)
	}
	return messageKey(d.m) + " " + d.m.Recipients[0].Address
}

// messageKey tells a message from all others, however people named them.
func messageKey(m *mail.Message) string { return cmp.Or(m.Key, m.ID) }

func newDelivery(ctx context.Context, m *mail.Message, relay string) *delivery {
	d := &delivery{ctx: ctx, m: m, to: make([]int, 0, len(m.Recipients))}
	d.tx = mail.Transaction{At: time.Now(), Relay: relay, Outcomes: make([]mail.Outcome, len(m.Recipients))}
	// Enhanced codes as in RFC 3463 section 3.2.
	if m.From != "" {
		if err := checkPath(m.From, m.UTF8); err != nil {
			d.settle(localOutcome(mail.Failed, "5.1.7", fmt.Errorf("the sender cannot be sent: %w", err)))
			return d
		}
	}
	for i, r := range m.Recipients {
		if err := checkPath(r.Address, m.UTF8); err != nil {
			d.tx.Outcomes[i] = localOutcome(mail.Failed, "5.1.3", fmt.Errorf("the recipient cannot be sent: %w", err))
			continue
		}
		d.to = append(d.to, i)
	}
	return d
}

// settle gives o to everyone who has no outcome yet.
func (d *delivery) settle(o mail.Outcome) {
	for i := range d.tx.Outcomes {
		if d.tx.Outcomes[i].Class == "" {
			d.tx.Outcomes[i] = o
		}
	}
}

// restart forgets what the relay said of the recipients.
func (d *delivery) restart() {
	d.refusals, d.tx.Later = nil, false
	for _, i := range d.to {
		d.tx.Outcomes[i] = mail.Outcome{}
	}
}

// postpone settles everyone as requeued: the message is not to blame, and
// nothing is counted.
func (d *delivery) postpone(stage mail.Stage, err error) {
	o := localOutcome(mail.Requeued, "", err)
	o.Stage = stage
	d.settle(o)
}

// unfit reports why the relay cannot accept the message at all, given its
// extensions; nil if it can.
func (d *delivery) unfit(x extensions) *mail.Outcome {
	var o mail.Outcome
	switch m := d.m; {
	case x.maxSize > 0 && m.Size > x.maxSize:
		// RFC 1870 section 6.1.
		o = localOutcome(mail.Failed, "5.3.4", fmt.Errorf("the message has %d bytes, the relay accepts at most %d", m.Size, x.maxSize))
	case m.UTF8 && !x.utf8:
		// RFC 6531 section 3.5.
		o = localOutcome(mail.Failed, "5.6.7", errors.New("the message needs SMTPUTF8, which the relay does not offer"))
	case m.EightBit && !x.eightBit && d.failEightBit:
		// RFC 6152 section 3. Nearly all relays that do not offer it take them all the
		// same, so that is not the default.
		o = localOutcome(mail.Failed, "5.6.3", errors.New("the message has bytes above 127, and the relay does not offer 8BITMIME"))
	default:
		return nil
	}
	return &o
}

func localOutcome(c mail.Class, enhanced string, err error) mail.Outcome {
	return mail.Outcome{Class: c, Stage: mail.StageLocal, Enhanced: enhanced, Reply: mail.Sentence(err.Error(), mail.MaxReply)}
}

// replyOutcome is an outcome in the relay's words; err says in ours why there is
// no reply that counts.
func replyOutcome(c mail.Class, stage mail.Stage, r reply, err error) mail.Outcome {
	o := mail.Outcome{Class: c, Stage: stage, Code: r.code, Enhanced: r.enhanced, Reply: r.text()}
	if err != nil {
		words := lostWords(err)
		if c == mail.Uncertain {
			words = "it may have taken the message: " + words
		}
		o.Reply = mail.Sentence(words, mail.MaxReply)
	}
	if c == mail.Delivered {
		o.QueueID = mail.Cut(queueID(o.Reply), 128)
	}
	return o
}

// unoffered ends the words of an outcome of bytes that the relay did not ask for.
const unoffered = " (bytes above 127 were sent, and the relay does not offer 8BITMIME)"

// withNote says in the reply to the body that the relay got more than it offers.
func (d *delivery) withNote(o mail.Outcome, x extensions) mail.Outcome {
	if d.m.EightBit && !x.eightBit && o.Stage == mail.StageDot {
		o.Reply = mail.Cut(o.Reply, mail.MaxReply-len(unoffered)) + unoffered
	}
	return o
}

func lostWords(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the relay did not answer in time"
	case errors.Is(err, errOutOfStep), errors.Is(err, errLeft):
		return err.Error()
	}
	return fmt.Sprintf("the relay hung up: %v", plain(err))
}
