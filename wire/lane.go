package wire

import (
	"fmt"
	"strings"

	"github.com/postrider/postrider/schema"
)

// Streams that all lanes share.
const (
	StreamRecord = "MAIL_RECORD"
	StreamEvent  = "MAIL_EVENT"
	StreamDead   = "MAIL_DEAD"
)

// EventBuckets is the number of subjects a lane has in [StreamEvent].
const EventBuckets = 4096

// Headroom is the part of the broker's max_payload that a lane keeps for the
// headers of a copy of the message.
const Headroom = 64 << 10

// Lane is the name of a lane: 1 to 32 of a-z, 0-9 and "-".
type Lane string

// Validate reports an invalid name.
func (l Lane) Validate() error {
	if err := schema.ValidateName(string(l)); err != nil {
		return fmt.Errorf("lane %w", err)
	}
	return nil
}

// SendSubject is where producers publish mail without a tenant.
func (l Lane) SendSubject() string { return "mail.send." + string(l) }

// TenantSubject is where producers publish mail of that tenant.
func (l Lane) TenantSubject(tenant string) string { return l.SendSubject() + "." + tenant }

// TenantSubjects matches where producers publish mail of any tenant.
func (l Lane) TenantSubjects() string { return l.SendSubject() + ".*" }

// SendStream is the stream of what producers publish.
func (l Lane) SendStream() string { return "MAIL_SEND_" + strings.ToUpper(string(l)) }

// LaterStream is the stream of the lane's copies, waiting and due.
func (l Lane) LaterStream() string { return "MAIL_LATER_" + strings.ToUpper(string(l)) }

// LaneOfStream is the lane of a stream of undelivered mail; false for any other
// stream.
func LaneOfStream(name string) (Lane, bool) {
	for _, prefix := range []string{Lane("").SendStream(), Lane("").LaterStream()} {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			l := Lane(strings.ToLower(rest))
			return l, l.Validate() == nil
		}
	}
	return "", false
}

// CopySubjects matches the copies of the lane in that state, or with "*" in any.
func (l Lane) CopySubjects(s CopyState) string {
	return "mail.copy." + string(l) + "." + string(s) + ".>"
}

// The durable consumers of a lane.
const (
	ConsumerFresh = "fresh"
	ConsumerDue   = "due"
)

// Source is where mail of a lane is taken from: a stream and its durable
// consumer.
type Source struct {
	Lane     Lane
	Stream   string
	Consumer string
	// Subjects are those that the consumer delivers; none means all of the stream.
	Subjects []string
	// Fresh mail was published by producers. The rest is due copies of ours.
	Fresh bool
}

// Filter matches the subjects that the source delivers.
func (s Source) Filter() string {
	if len(s.Subjects) == 0 {
		return ">"
	}
	return s.Subjects[0]
}

// Sources is the topology of the lane: everything that its mail is taken from. All
// code that makes or reads a lane's streams uses this list.
func (l Lane) Sources() []Source {
	return []Source{
		{Lane: l, Stream: l.SendStream(), Consumer: ConsumerFresh, Fresh: true},
		{Lane: l, Stream: l.LaterStream(), Consumer: ConsumerDue, Subjects: []string{l.CopySubjects(CopyDue)}},
	}
}

// TenantOf is the tenant in a subject that producers publish to; empty for none. ok
// is false if the lane takes no mail of producers on the subject.
func (l Lane) TenantOf(subject string) (tenant string, ok bool) {
	rest, ok := strings.CutPrefix(subject, l.SendSubject())
	if !ok || rest == "" {
		return "", ok
	}
	tenant, ok = strings.CutPrefix(rest, ".")
	return tenant, ok && !strings.Contains(tenant, ".")
}
