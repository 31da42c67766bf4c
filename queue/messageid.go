package queue

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/journal"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// ownMessageID is a Message-ID that Postrider made: it begins with the origin.
var ownMessageID = regexp.MustCompile(`^<?([0-9]{16,19}-[0-9]+)(\.[^@]*)?@`)

// originIn is the origin in a Message-ID of ours; empty if it is of somebody else.
func originIn(name string) string {
	if m := ownMessageID.FindStringSubmatch(name); m != nil {
		return m[1]
	}
	return ""
}

// hasMessageID reports whether the envelope has its own Message-ID, and that one, with
// or without its angle brackets.
func hasMessageID(e *schema.Envelope, id string) bool {
	if e == nil || !strings.Contains(id, "@") {
		return false
	}
	id = "<" + strings.Trim(id, "<>") + ">"
	for name, values := range e.Headers {
		if strings.EqualFold(name, "Message-ID") {
			return slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == id })
		}
	}
	if e.Raw == nil {
		return false
	}
	head, err := mail.ReadHead(e.Raw)
	if err != nil {
		return false
	}
	f := head.Find("Message-ID")
	return f != nil && string(bytes.TrimSpace(f.Value())) == id
}

// otherNames searches for a message by what others call it: its Message-ID, or the
// relay's queue id. It returns origins.
func (f *finder) otherNames(ctx context.Context, name string) (origins []string, err error) {
	if strings.Contains(name, "@") {
		if origins, err = f.byMessageID(ctx, name); err != nil || len(origins) > 0 {
			return origins, err
		}
	}
	return f.byLog(ctx, journal.Filter{QueueID: name}, "relay's queue id")
}

// byMessageID searches scheduled mail, dead letters and the log.
func (f *finder) byMessageID(ctx context.Context, id string) (origins []string, err error) {
	bar := f.watch.bar(-1, "reading scheduled mail")
	copies, err := f.searchCopies(ctx, id, bar.Step)
	bar.End()
	if err != nil {
		return nil, err
	}
	for _, m := range copies {
		origins = append(origins, m.Key.Origin)
	}
	bar = f.watch.bar(-1, "reading dead letters")
	defer bar.End()
	for l, err := range f.dead.All(ctx, deadletter.Filter{}) {
		if l == nil {
			return nil, err
		}
		bar.Step()
		if e, err := schema.Decode(l.Producer, l.Body); err == nil && hasMessageID(e, id) {
			origins = append(origins, l.Key.Origin)
		}
	}
	f.searched = append(f.searched, "the Message-IDs of scheduled mail and dead letters")
	if len(origins) > 0 {
		return origins, nil
	}
	return f.byLog(ctx, journal.Filter{MessageID: strings.Trim(id, "<>")}, "Message-ID")
}

// searchCopies is [Queue.Search] of the scheduled and due copies, by Message-ID alone:
// their ids are in their subjects.
func (f *finder) searchCopies(ctx context.Context, messageID string, read func()) ([]*Message, error) {
	return f.gather(ctx, false, func(s source) ([]*Message, error) {
		s.Filter = s.Lane.CopySubjects(wire.CopyAny) // and not only those that are due
		return f.searchIn(ctx, s, read, func(m *jetstream.RawStreamMsg) *Message {
			if x := s.readCopy(m); hasMessageID(x.Envelope, messageID) {
				return x
			}
			return nil
		})
	})
}

// byLog searches the log for messages that have another name, of that kind.
func (f *finder) byLog(ctx context.Context, by journal.Filter, kind string) (origins []string, err error) {
	bar := f.watch.bar(-1, "reading the log for a "+kind)
	defer bar.End()
	read := uint64(0)
	by.Read = func() { read++; bar.Step() }
	for r, err := range f.log.Search(ctx, by) {
		if err != nil {
			return nil, err
		}
		origins = append(origins, r.Origin)
	}
	f.searched = append(f.searched, kind+"s in the log ("+entries(read)+")")
	return origins, nil
}

// entries counts entries of the log.
func entries(n uint64) string {
	if n == 1 {
		return "1 entry"
	}
	return Thousands(n) + " entries"
}
