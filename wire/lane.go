package wire

import (
	"fmt"
	"slices"
	"strconv"
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

// SendStream is the stream of what producers publish. Streams are found by
// [Lane.Sources].
func (l Lane) SendStream() string { return "MAIL_SEND_" + strings.ToUpper(string(l)) }

// LaterStream is the stream of the lane's copies, waiting and due. Streams are
// found by [Lane.Sources].
func (l Lane) LaterStream() string { return "MAIL_LATER_" + strings.ToUpper(string(l)) }

// LaneOfStream is the lane of a stream of undelivered mail; false for any other
// stream.
func LaneOfStream(name string) (Lane, bool) {
	for _, prefix := range []string{Lane("").SendStream(), Lane("").LaterStream()} {
		rest, ok := strings.CutPrefix(name, prefix)
		lane, _, _ := strings.Cut(rest, "_") // no lane has one in its name
		l := Lane(strings.ToLower(lane))
		if ok && l.Validate() == nil && slices.ContainsFunc(l.Sources(), func(s Source) bool { return s.Stream == name }) {
			return l, true
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
// consumer. Each source has a stream of its own.
type Source struct {
	Lane     Lane
	Stream   string
	Consumer string
	// Subjects are those that the stream takes, and Filter matches those of them
	// that the consumer delivers: [Everything], or copies that are due.
	Subjects []string
	Filter   string
	// Fresh mail was published by producers. The rest is due copies of ours.
	Fresh bool
}

// Everything is a [Source.Filter] that matches all subjects.
const Everything = ">"

// Takes reports that the source's stream takes the subject.
func (s Source) Takes(subject string) bool {
	return slices.ContainsFunc(s.Subjects, func(filter string) bool { return covers(filter, subject) })
}

// Sources is the topology of the lane: everything that its mail is taken from. All
// code that makes, finds or reads a lane's streams uses this list.
func (l Lane) Sources() []Source {
	var all []Source
	for i, subjects := range l.freshSubjects() {
		s := Source{Lane: l, Stream: l.SendStream(), Consumer: ConsumerFresh, Subjects: subjects, Filter: Everything, Fresh: true}
		if i > 0 {
			s.Stream += "_" + strconv.Itoa(i+1)
		}
		all = append(all, s)
	}
	return append(all, Source{
		Lane: l, Stream: l.LaterStream(), Consumer: ConsumerDue,
		Subjects: []string{l.CopySubjects(CopyAny)}, Filter: l.CopySubjects(CopyDue),
	})
}

// freshSubjects are the subjects of each stream of what producers publish. Of
// several streams the first keeps its name, because its mail was accepted there.
func (l Lane) freshSubjects() [][]string {
	return [][]string{{l.SendSubject(), l.TenantSubjects()}}
}

// covers reports that a filter of the broker's matches a subject.
func covers(filter, subject string) bool {
	f, s := strings.Split(filter, "."), strings.Split(subject, ".")
	for i, token := range f {
		if token == ">" {
			return len(s) > i
		}
		if i >= len(s) || token != "*" && token != s[i] {
			return false
		}
	}
	return len(f) == len(s)
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
