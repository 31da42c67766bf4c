package wire

import "slices"

// Records of one key that two deliveries made, or one delivery one after the other.

// TakeOver takes over what an earlier record of the key says of the recipients: who is
// delivered, and how often a relay hung up at each. from may be nil.
func (r *Record) TakeOver(from *Record) {
	for i := range r.Recipients {
		x := &r.Recipients[i]
		y := from.Find(x.Index)
		if y == nil {
			continue
		}
		if y.State == StateDelivered {
			x.become(*y)
		}
		x.HangUps = max(x.HangUps, y.HangUps)
	}
	r.concludeAgain()
}

// become replaces x by what another record says of the same recipient. Neither record
// may have all hang-ups: the larger count stays.
func (x *RecipientRecord) become(y RecipientRecord) {
	y.HangUps = max(x.HangUps, y.HangUps)
	*x = y
}

// GoOnFrom makes r a record that can be written after another one of the same
// generation. A recipient whom either calls delivered is; else the earlier record
// counts, unless it leaves the recipient pending.
func (r *Record) GoOnFrom(earlier *Record) {
	for i := range r.Recipients {
		x := &r.Recipients[i]
		y := earlier.Find(x.Index)
		if y == nil {
			continue
		}
		if x.State != StateDelivered && y.State != StatePending {
			x.become(*y)
		}
		x.HangUps = max(x.HangUps, y.HangUps)
	}
	own := slices.DeleteFunc(r.Attempts, func(a Attempt) bool { return slices.ContainsFunc(earlier.Attempts, a.Is) })
	r.Attempts = slices.Concat(earlier.Attempts, own) // r's own come last: see IsIn
	r.Counted, r.Delivery = max(r.Counted, earlier.Counted), max(r.Delivery, earlier.Delivery)
	if r.Due.IsZero() {
		r.Due = earlier.Due
	}
	r.concludeAgain()
}

// Merge adds recipients that were delivered to after all. Recipients that were scheduled
// together stay together; those that were dead together are split. The record of a
// discard stays one.
func (r *Record) Merge(news []RecipientRecord) {
	for _, x := range news {
		r.Find(x.Index).become(x)
	}
	if r.Together != StateScheduled && r.Event != EventDiscarded {
		r.concludeAgain()
	}
}

// NameDead names the recipients of a message that was dead-lettered without reading it:
// they are those of from.
func (r *Record) NameDead(from *Record) {
	if len(r.Recipients) > 0 || r.Together != StateDead {
		return
	}
	for _, x := range from.Recipients {
		r.Recipients = append(r.Recipients, RecipientRecord{Address: x.Address, Index: x.Index, State: StateDead, Reason: r.Reason})
	}
}

// concludeAgain concludes a record whose recipients have changed since, if it was
// concluded. An event that tells why the rest waits stays.
func (r *Record) concludeAgain() {
	if r.Event == "" || r.Has(StatePending) || len(r.Recipients) == 0 {
		return
	}
	if waits := r.Event == EventScheduled || r.Event == EventRequeued; !waits || !r.Has(StateScheduled) {
		r.Event = ""
	}
	if !r.Has(StateDead) {
		r.Error = ""
	}
	r.Together, r.Reason = "", ""
	r.Conclude()
}

// IsIn reports that other is r itself, written by a try whose answer was lost, or was
// made from it: it holds the transaction that r ends with. A record that had to be
// shortened holds none, and is known by its time. A transaction without a session
// need not be recognised: it delivered to nobody.
func (r *Record) IsIn(other *Record) bool {
	n := len(r.Attempts)
	if n == 0 && len(other.Attempts) == 0 {
		return other.Generation == r.Generation && other.At.Equal(r.At)
	}
	return n > 0 && r.Attempts[n-1].Session != "" && slices.ContainsFunc(other.Attempts, r.Attempts[n-1].Is)
}

// Compare returns the recipients that r calls delivered and other does not, and how
// many the relay accepted from the deliveries of both: both call them delivered, and
// the record before did not. before may be nil.
func (r *Record) Compare(before, other *Record) (news []RecipientRecord, twice int) {
	for _, x := range r.Recipients {
		switch {
		case x.State != StateDelivered || other.Find(x.Index) == nil:
		case !other.DeliveredTo(x.Index):
			news = append(news, x)
		case !before.DeliveredTo(x.Index):
			twice++
		}
	}
	return news, twice
}

// DecidesMore reports that r decides about a recipient of whom before, which may be
// nil, says nothing at this generation.
func (r *Record) DecidesMore(before *Record) bool {
	return slices.ContainsFunc(r.Recipients, func(x RecipientRecord) bool {
		if x.State == StatePending || before.DeliveredTo(x.Index) {
			return false
		}
		y := before.Find(x.Index)
		return y == nil || y.State != x.State || before.Generation != r.Generation
	})
}
