package smtp

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/mail"
)

// inRun is the verdict on a reply to a message as a whole, in view of those to others. A
// refusal after which the message is tried again at once does not count. At RCPT
// refusedAtRcpt has the whole.
func (d *delivery) inRun(v verdict, stage mail.Stage, r reply) verdict {
	switch {
	case v.rule != nil: // the operator has said what it means
	case stage == mail.StageRcpt:
		if v.class == mail.Failed {
			d.refusals = append(d.refusals, r)
		}
	case v.again != never || r.code == 0:
	case v.class == mail.Delivered:
		d.circuit.accepted(d.m, d.asked, false)
	case v.class == mail.Deferred, v.class == mail.Failed:
		return d.weigh(v, likenessOf(r), r)
	}
	return v
}

// weigh is the verdict on a message that was refused.
func (d *delivery) weigh(v verdict, like likeness, r reply) verdict {
	x := refused{key: messageKey(d.m), id: d.m.ID, from: d.m.From, like: like, words: sayReply(r.code, r.enhanced, r.text()), dead: v.class == mail.Failed}
	for _, to := range d.m.Recipients[:min(len(d.m.Recipients), runOfDomains)] {
		x.domains = append(x.domains, strings.ToLower(to.Address[strings.LastIndexByte(to.Address, '@')+1:]))
	}
	ruling := d.circuit.refused(x, d.turn)
	d.refusedOnTrial = d.turn > 0 && ruling >= ofSender
	switch ruling {
	case itsOwn:
	case suspected:
		v.class = mail.Deferred
	case ofSender:
		v.class, d.tx.Later = mail.Requeued, true
	case ofRelay:
		v.class, v.trouble = mail.Requeued, refusing
	}
	return v
}

// refusedAtRcpt judges a message all of whose recipients were refused, as many a relay
// refuses a sender or us.
func (t *transaction) refusedAtRcpt() {
	d := t.d
	if len(t.accepted) > 0 {
		d.circuit.accepted(d.m, d.asked, true)
		return
	}
	if len(d.refusals) == 0 || len(d.refusals) < len(d.to) {
		return
	}
	r := d.refusals[0]
	v := verdict{class: mail.Failed}
	if like := likenessAtRcpt(d.refusals); like != (likeness{}) {
		v = d.weigh(v, like, r)
	}
	if v.trouble != fine {
		d.fault = t.relayError(v, step{stage: mail.StageRcpt}, r)
	}
	for _, i := range d.to {
		d.tx.Outcomes[i].Class = v.class
	}
}

// accepted notes that the relay accepted a message that was asked for at that time, or at
// RCPT a recipient.
func (c *circuit) accepted(m *mail.Message, asked time.Time, atRcpt bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.refusals.accepted(m.From, messageKey(m), atRcpt, asked, time.Now())
	if h == nil {
		return
	}
	c.tell()
	if !h.quiet {
		c.log.Info(fmt.Sprintf("relay %s accepts mail of %s again", c.name, path(m.From)), "relay", c.name, "from", m.From)
	}
}

// refused decides on a message that was refused, which may have the turn.
func (c *circuit) refused(x refused, turn int) ruling {
	c.mu.Lock()
	defer c.mu.Unlock()
	x.at = time.Now()
	known := c.refusals.held[x.from]
	got := c.refusals.met(x, c.trying && turn == c.turn)
	h := c.refusals.held[x.from]
	if h != nil && got >= ofSender {
		c.tell()
	}
	if got == ofSender && h != known && !c.refusals.all {
		c.saySender(x.from, h)
	}
	c.sayDead()
	return got
}

// probed notes that the probe of a sender has an outcome. If that says nothing of the
// sender, the next message is the probe, a moment later: this may go on.
func (c *circuit) probed(m *mail.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.refusals.held[m.From]; h != nil && h.probe == messageKey(m) {
		h.probe, h.until = "", time.Now().Add(c.min)
	}
}

// putOff says why the mail of that sender is not tried. The caller holds mu.
func (h *hold) putOff(from string) error {
	return errors.New("the relay refuses mail of " + path(from) + ": " + h.words)
}

// saySender logs that the mail of a sender is put off, once in a while. The caller holds
// mu.
func (c *circuit) saySender(from string, h *hold) {
	if h.quiet = time.Since(c.saidOf[from]) < quietFor; h.quiet {
		return
	}
	room(&c.saidOf, mostHeld)
	c.saidOf[from] = time.Now()
	every := "one is tried again every " + check.Duration(c.min)
	if c.max > c.min {
		every += " to " + check.Duration(c.max)
	}
	c.log.Error(fmt.Sprintf("relay %s refuses mail of %s: %s: its mail is put off until somebody fixes it; see what the reply says of the sender, ask the relay's operator, or say what it means by a rule (POSTRIDER_RELAYS); %s", c.name, path(from), h.words, every),
		"relay", c.name, "from", from)
}

// sayDead logs which messages died before their run was known. The caller holds mu.
func (c *circuit) sayDead() {
	ids := c.refusals.dead
	if c.refusals.dead = nil; len(ids) == 0 {
		return
	}
	more := ""
	if n := len(ids) - namedAtMost; n > 0 {
		ids, more = ids[:namedAtMost], fmt.Sprintf(" and %d more", n)
	}
	var args strings.Builder
	for _, id := range ids {
		args.WriteString(" " + mail.Quote(id))
	}
	c.log.Warn(fmt.Sprintf("relay %s: dead already of such a reply, to be sent again when mail moves: postrider dead replay%s%s", c.name, args.String(), more), "relay", c.name)
}
