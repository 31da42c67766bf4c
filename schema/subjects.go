package schema

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Streams that all lanes share.
const (
	StreamRecord = "MAIL_RECORD"
	StreamEvent  = "MAIL_EVENT"
	StreamDead   = "MAIL_DEAD"
)

// EventBuckets is the number of subjects a lane has in [StreamEvent].
const EventBuckets = 4096

// Headers of Postrider's own. They count only on subjects that producers
// cannot publish to; on a fresh message they make a bad envelope.
const (
	HeaderPrefix   = "Postrider-"
	HeaderID       = "Postrider-Id"
	HeaderOrigin   = "Postrider-Origin"
	HeaderLine     = "Postrider-Line"
	HeaderHop      = "Postrider-Hop"
	HeaderAttempts = "Postrider-Attempts"
	HeaderEnqueued = "Postrider-Enqueued"
	HeaderLog      = "Postrider-Log"
	HeaderDeadSeq  = "Postrider-Dead-Seq"
	// HeaderReplayed is the time of the last replay, RFC 3339: the budget of
	// attempts and age begins there.
	HeaderReplayed = "Postrider-Replayed"
	// HeaderReplays counts the replays of a line.
	HeaderReplays = "Postrider-Replays"
	HeaderReason  = "Postrider-Reason"
	HeaderError   = "Postrider-Error"
	HeaderMarker  = "Postrider-Marker"
	// HeaderBody says where a dead letter's producer's headers are, if not
	// beside ours: [BodyWithHeaders] or [BodyHeadersLost].
	HeaderBody = "Postrider-Body"
)

// HeaderUnreadable stands, on no wire, in place of NATS headers that cannot be
// read. They are not taken for none: they may say not to send.
const HeaderUnreadable = "Postrider-Unreadable"

// The values of [HeaderBody].
const (
	// BodyWithHeaders: the body begins with the producer's headers.
	BodyWithHeaders = "headers"
	// BodyHeadersLost: they could not be read, and are nowhere.
	BodyHeadersLost = "headers-lost"
)

// Headers a producer may set, besides its own.
const (
	HeaderContentType = "Content-Type"
	HeaderMsgID       = "Nats-Msg-Id"
	// MailPrefix begins the headers of the raw form.
	MailPrefix        = "Mail-"
	HeaderMailID      = "Mail-Id"
	HeaderMailFrom    = "Mail-From"
	HeaderMailTo      = "Mail-To"
	HeaderSendAt      = "Mail-Send-At"
	HeaderExpiresAt   = "Mail-Expires-At"
	HeaderRelay       = "Mail-Relay"
	HeaderMaxAttempts = "Mail-Max-Attempts"
	HeaderTag         = "Mail-Tag"
	// HeaderMeta begins those of metadata; what follows is the key.
	HeaderMeta = "Mail-Meta-"
	// NATSPrefix begins the headers that mean something to the broker.
	NATSPrefix = "Nats-"
)

// The two forms of an envelope, as [HeaderContentType] names them.
const (
	TypeJSON    = "application/json"
	TypeMessage = "message/rfc822"
)

// All is the line of a message's recipients together.
const All = "all"

var laneName = regexp.MustCompile(`^[a-z0-9-]{1,32}$`)

// Lane is the name of a lane: 1 to 32 of a-z, 0-9 and "-".
type Lane string

// Validate reports a name that is not a lane's.
func (l Lane) Validate() error {
	if !laneName.MatchString(string(l)) {
		return fmt.Errorf("lane %q: a lane's name is 1 to 32 of a-z, 0-9 and \"-\"", string(l))
	}
	return nil
}

// SendSubject is where producers publish.
func (l Lane) SendSubject() string { return "mail.send." + string(l) }

// DueFilter matches the due copies of every line of the lane.
func (l Lane) DueFilter() string { return "mail.due." + string(l) + ".>" }

// LaterFilter matches the scheduled copies of every line of the lane.
func (l Lane) LaterFilter() string { return "mail.later." + string(l) + ".>" }

// SendStream is the stream that takes what producers publish.
func (l Lane) SendStream() string { return "MAIL_SEND_" + strings.ToUpper(string(l)) }

// LaterStream is the stream of scheduled and due copies.
func (l Lane) LaterStream() string { return "MAIL_LATER_" + strings.ToUpper(string(l)) }

// FreshConsumer is the durable consumer on [Lane.SendStream].
func (l Lane) FreshConsumer() string { return "fresh" }

// DueConsumer is the durable consumer on [Lane.LaterStream].
func (l Lane) DueConsumer() string { return "due" }

// Line is an origin and what it is for: [All] its recipients, or one of them.
// Everything that is settled is keyed on it.
type Line struct {
	Lane Lane
	// ID is the id for people; on subjects its [Token] stands.
	ID string
	// Origin is "<unix ns>-<stream sequence>" of the first acceptance.
	Origin string
	// Rcpt is [All] or the index of a recipient, from 0.
	Rcpt string
}

// Origin names the message that a stream accepted at that time and sequence.
func Origin(t time.Time, seq uint64) string {
	return strconv.FormatInt(t.UnixNano(), 10) + "-" + strconv.FormatUint(seq, 10)
}

// Single is the line of one of l's recipients.
func (l Line) Single(index int) Line {
	l.Rcpt = strconv.Itoa(index)
	return l
}

// Whole is the line of all recipients that l descends from.
func (l Line) Whole() Line {
	l.Rcpt = All
	return l
}

// IsAll reports whether l is for all recipients of its message.
func (l Line) IsAll() bool { return l.Rcpt == All }

// Index is the recipient a single line is for; false for [All].
func (l Line) Index() (int, bool) {
	i, err := strconv.Atoi(l.Rcpt)
	return i, err == nil && i >= 0
}

var originForm = regexp.MustCompile(`^[0-9]{1,20}-[0-9]{1,20}$`)

// validate reports a line that no copy of ours is on: each part of it but the
// id stands in subjects as it is.
func (l Line) validate() error {
	switch i, single := l.Index(); {
	case !originForm.MatchString(l.Origin):
		return fmt.Errorf("%q is no origin: <unix ns>-<sequence>", Cut(l.Origin, 64))
	case l.Rcpt != All && (!single || strconv.Itoa(i) != l.Rcpt):
		return fmt.Errorf("%q is neither %q nor the index of a recipient", Cut(l.Rcpt, 64), All)
	}
	return nil
}

func (l Line) tail() string {
	return string(l.Lane) + "." + Token(l.ID) + "." + l.Origin + "." + l.Rcpt
}

// LaterSubject is where a scheduled copy stands.
func (l Line) LaterSubject() string { return "mail.later." + l.tail() }

// DueSubject is what a scheduled copy fires into.
func (l Line) DueSubject() string { return "mail.due." + l.tail() }

// CopyFilter matches the line's one copy, scheduled or due.
func (l Line) CopyFilter() string { return "mail.*." + l.tail() }

// RecordSubject is where the line's records stand.
func (l Line) RecordSubject() string { return "mail.record." + l.tail() }

// RecordFilter matches the line's records whatever its id, for a message whose
// body nobody dares to decode. It is slow where there are many records.
func (l Line) RecordFilter() string {
	return "mail.record." + string(l.Lane) + ".*." + l.Origin + "." + l.Rcpt
}

// DeadSubject is where the line's dead letter stands.
func (l Line) DeadSubject() string { return "mail.dead." + l.tail() }

// EventSubject is the bucket of the log that the line's entries are in.
func (l Line) EventSubject() string {
	h := fnv.New32a()
	h.Write([]byte(Token(l.ID)))
	return "mail.event." + string(l.Lane) + "." + strconv.FormatUint(uint64(h.Sum32()%EventBuckets), 10)
}

// EventFilter matches the log's entries of the whole lane.
func (l Line) EventFilter() string { return "mail.event." + string(l.Lane) + ".*" }

// String is the line as people see it in logs.
func (l Line) String() string {
	if l.IsAll() {
		return l.ID
	}
	return l.ID + " recipient " + l.Rcpt
}

var plainToken = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// Token is id as a subject's token: itself where it is 1 to 64 of A-Z, a-z,
// 0-9, "_" and "-", else "_" and 22 characters of base64url of its SHA-256.
func Token(id string) string {
	if plainToken.MatchString(id) {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "_" + base64.RawURLEncoding.EncodeToString(sum[:])[:22]
}

// ParseLine reads the lane, the token of the id, the origin and the recipient
// from a subject of five tokens behind "mail.<kind>.".
func ParseLine(subject string) (Line, error) {
	t := strings.Split(subject, ".")
	if len(t) != 6 || t[0] != "mail" {
		return Line{}, fmt.Errorf("subject %q is not mail.<kind>.<lane>.<id>.<origin>.<recipient>", subject)
	}
	l := Line{Lane: Lane(t[2]), ID: t[3], Origin: t[4], Rcpt: t[5]}
	if err := l.validate(); err != nil {
		return Line{}, fmt.Errorf("subject %q: %w", subject, err)
	}
	return l, nil
}

// HasPrefixFold reports whether a header's name begins with prefix, whatever
// the case: NATS keeps the case, people do not.
func HasPrefixFold(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// LineTails are how the subjects of a message's lines may end, behind the lane,
// where people name it by its id or its origin: what looks like an origin may be
// an id. No subject matches two of them.
func LineTails(name string) []LineTail {
	tails := []LineTail{{Filter: Token(name) + ".*.*"}}
	if _, ok := OriginTime(name); ok {
		tails = append(tails, LineTail{Filter: "*." + name + ".*", not: Token(name)})
	}
	return tails
}

// LineTail is one of them.
type LineTail struct {
	// Filter is what follows "mail.<kind>.<lane>.", with wildcards.
	Filter string
	// not is the id whose subjects an earlier tail has.
	not string
}

// Has reports whether a subject that the filter matches is this tail's own.
func (t LineTail) Has(subject string) bool {
	l, err := ParseLine(subject)
	return err == nil && (t.not == "" || l.ID != t.not)
}

// OriginTime is the time of first acceptance that an origin begins with; false
// for what is no origin. An id may look like one only by intent.
func OriginTime(s string) (time.Time, bool) {
	ns, seq, _ := strings.Cut(s, "-")
	if len(ns) < 16 || len(ns) > 19 || seq == "" || strings.Trim(ns+seq, "0123456789") != "" {
		return time.Time{}, false
	}
	n, err := strconv.ParseInt(ns, 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	return time.Unix(0, n), true
}
