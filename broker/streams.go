package broker

import (
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

const (
	// versionKey is the metadata with the settings version. A stream without it
	// is not ours.
	versionKey = "postrider-version"

	// firstVersion is the settings version of the first release. Streams of the
	// development builds before it are refused.
	firstVersion = 2

	day = 24 * time.Hour
)

// layout is what the settings depend on.
type layout struct {
	lanes      []wire.Lane
	replicas   int   // 0: those of a stream that exists
	maxPayload int64 // bytes, the server's
	laneBytes  int64 // MaxBytes of a new stream of fresh mail, -1 unlimited
	eventBytes int64 // MaxBytes of a new MAIL_EVENT, -1 unlimited
}

// streams are all streams with all settings that are ours, in the order in which
// they can be made.
func (l layout) streams() []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{record(), l.event(), dead(), state()}
	for _, s := range sourcesOf(l.lanes) {
		if s.Fresh {
			all = append(all, l.send(s))
		} else {
			all = append(all, later(s))
		}
	}
	for i := range all {
		s := &all[i]
		s.Storage = jetstream.FileStorage
		s.Replicas = l.replicas
		s.MaxMsgs = -1
		if s.MaxMsgsPerSubject == 0 {
			s.MaxMsgsPerSubject = -1
		}
		if s.MaxBytes == 0 {
			s.MaxBytes = -1
		}
		if s.MaxMsgSize == 0 {
			s.MaxMsgSize = -1
		}
	}
	return all
}

// sourcesOf are the sources of all those lanes.
func sourcesOf(lanes []wire.Lane) (all []wire.Source) {
	for _, l := range lanes {
		all = append(all, l.Sources()...)
	}
	return all
}

// send takes what producers publish. A producer can only add messages here, one
// by one or in atomic batches: no rollup, no TTL, no schedules. A full lane
// refuses messages and drops none.
func (l layout) send(s wire.Source) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       s.Stream,
		Subjects:   s.Subjects,
		Retention:  jetstream.WorkQueuePolicy,
		Discard:    jetstream.DiscardNew,
		MaxBytes:   l.laneBytes,
		MaxMsgSize: int32(l.maxPayload - wire.Headroom),
		Duplicates: 10 * time.Minute,

		AllowAtomicPublish: true,
		AllowDirect:        true,
	}
}

// later keeps scheduled copies and the due ones they fire into. Schedules
// exclude discard new, and every limit would drop them without a word: hence
// there is none. They force AllowRollup: hence producers must not publish here.
func later(s wire.Source) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              s.Stream,
		Subjects:          s.Subjects,
		Retention:         jetstream.WorkQueuePolicy,
		Discard:           jetstream.DiscardOld,
		AllowMsgSchedules: true,
		AllowRollup:       true,

		AllowAtomicPublish: true,
		AllowDirect:        true,
	}
}

// record has no limit per subject: a record that is overwritten before it was
// sourced would be missing in MAIL_EVENT.
func record() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        wire.StreamRecord,
		Subjects:    []string{"mail.record.*.*.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxAge:      14 * day,
		AllowMsgTTL: true,

		AllowAtomicPublish: true,
	}
}

// event is what people read: a copy of every record, in a bounded number of
// subjects. If it is full, it drops the oldest.
func (l layout) event() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:      wire.StreamEvent,
		Subjects:  []string{"mail.event.*.*"},
		Retention: jetstream.LimitsPolicy,
		Discard:   jetstream.DiscardOld,
		MaxAge:    30 * day,
		MaxBytes:  l.eventBytes,
		Sources: []*jetstream.StreamSource{{
			Name: wire.StreamRecord,
			SubjectTransforms: []jetstream.SubjectTransformConfig{{
				Source: "mail.record.*.*.*.*",
				// wire.Key.EventSubject and wire.EventBuckets say the same.
				Destination: "mail.event.{{wildcard(1)}}.{{partition(4096,2)}}",
			}},
		}},
		AllowAtomicPublish: true,
	}
}

// dead keeps one dead letter for each key.
func dead() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              wire.StreamDead,
		Subjects:          []string{"mail.dead.*.*.*.*"},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardOld,
		MaxMsgsPerSubject: 1,
		MaxAge:            deadFor,
	}
}

// state is the key-value bucket POSTRIDER, in the shape that clients of NATS expect. It
// holds a few hundred bytes for each worker, so it has no MaxBytes: nothing in it may be
// refused because of that.
func state() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              wire.StreamState,
		Subjects:          []string{wire.StateSubjects},
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxMsgsPerSubject: 1,
		AllowRollup:       true,
		DenyDelete:        true,
		AllowDirect:       true,
		AllowMsgTTL:       true,
		// So that those who watch the bucket see that a value is gone.
		SubjectDeleteMarkerTTL: time.Minute,
	}
}

// over puts our settings over those of a stream that exists. What an operator
// may choose is kept: description, placement and the like. Compression is not:
// after a kill a compressed block may be unreadable ("s2: corrupt input"), and
// its stream then takes nothing more.
func over(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	c := want
	c.Description, c.Placement = have.Description, have.Placement
	c.MaxConsumers, c.ConsumerLimits = have.MaxConsumers, have.ConsumerLimits
	c.FirstSeq, c.PersistMode = have.FirstSeq, have.PersistMode
	c.AllowBatchPublish = have.AllowBatchPublish
	if c.Replicas == 0 {
		c.Replicas = have.Replicas
	}
	if c.Duplicates == 0 {
		c.Duplicates = have.Duplicates
	}
	if sized(want) {
		c.MaxBytes = have.MaxBytes
	}
	c.AllowDirect = direct(c)
	c.Metadata = stamp(have.Metadata)
	return c
}

// direct reports whether a stream with so many replicas allows direct gets. Of
// records it does with one replica only: a follower may answer with an old one.
func direct(s jetstream.StreamConfig) bool {
	return s.AllowDirect || s.Name == wire.StreamRecord && s.Replicas == 1
}

// sized reports a stream that has a part of the room. JetStream reserves it, so
// it is fixed when the stream is made.
func sized(s jetstream.StreamConfig) bool {
	return s.Retention == jetstream.WorkQueuePolicy && s.Discard == jetstream.DiscardNew || s.Name == wire.StreamEvent
}

// stamp adds the settings version to metadata.
func stamp(have map[string]string) map[string]string {
	m := maps.Clone(have)
	if m == nil {
		m = map[string]string{}
	}
	m[versionKey] = strconv.Itoa(settingsVersion)
	return m
}
