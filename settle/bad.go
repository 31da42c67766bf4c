package settle

import (
	"fmt"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// crashLoop is the number of deliveries without a record after which a message is
// assumed to crash workers, and is buried without decoding it.
const crashLoop = 16

// inCrashLoop is what is wrong with a message that was delivered too often since its
// last record; nil if nothing is. Its record may say that a worker only had to
// requeue it.
func (d *Delivery) inCrashLoop() *schema.EnvelopeError {
	n := d.Times
	if d.last != nil && d.last.Generation == d.copy.Generation {
		n -= d.last.Delivery
	}
	if n < crashLoop {
		return nil
	}
	return &schema.EnvelopeError{
		Problem: fmt.Sprintf("delivered %d times without a record: it may crash workers, so it was not decoded", n),
		Reason:  mail.ReasonCrashLoop,
	}
}

// recordBad makes rec the record of a message that must not or cannot be sent. Its
// recipients are those of an earlier record, which may have decided about some of
// them, or else those that could be read.
func (d *Delivery) recordBad(rec *wire.Record) {
	switch {
	case d.last != nil && len(d.last.Recipients) > 0:
		rec.Recipients = d.last.Clone().Recipients
	case d.envelope != nil:
		for _, to := range d.copy.Key.RecipientsIn(d.envelope) {
			rec.Recipients = append(rec.Recipients, wire.RecipientRecord{Address: to.Address, Index: to.Index})
		}
	}
	for i := range rec.Recipients {
		x := &rec.Recipients[i]
		// Who was dead at an earlier generation was replayed since, and dies anew.
		if x.State != wire.StateDelivered && (x.State != wire.StateDead || d.last.Generation < rec.Generation) {
			*x = wire.RecipientRecord{Address: x.Address, Index: x.Index, State: wire.StateDead, Reason: d.bad.Reason}
		}
	}
	rec.Together, rec.Reason, rec.Error = "", d.bad.Reason, mail.Sentence(d.bad.Error(), mail.MaxError)
	if len(rec.Recipients) == 0 {
		rec.Together = wire.StateDead
	}
}
