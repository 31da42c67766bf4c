package broker

import (
	"maps"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/wire"
)

const (
	// versionKey is the metadata that says so. What lacks it is not ours.
	versionKey = "postrider-version"

	// firstVersion is the settings version of the first release. Streams of the
	// development builds before it are refused.
	firstVersion = 2

	day = 24 * time.Hour
)

// layout is what the settings depend on.
type layout struct {
	lanes      []wire.Lane
	replicas   int   // 0: as it stands
	maxPayload int64 // bytes, the server's
	laneBytes  int64 // MaxBytes of a new lane, -1 unlimited
	eventBytes int64 // MaxBytes of a new MAIL_EVENT, -1 unlimited
}

// streams are all the streams with all settings that are ours, in the order in
// which they can be made.
func (l layout) streams() []jetstream.StreamConfig {
	all := []jetstream.StreamConfig{record(), l.event(), dead()}
	for _, lane := range l.lanes {
		all = append(all, l.send(lane), later(lane))
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

// send takes what producers publish. A producer can do nothing here but add:
// no rollup, no TTL, no schedules. A full lane refuses instead of dropping.
func (l layout) send(lane wire.Lane) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:       lane.SendStream(),
		Subjects:   []string{lane.SendSubject(), lane.TenantSubjects()},
		Retention:  jetstream.WorkQueuePolicy,
		Discard:    jetstream.DiscardNew,
		MaxBytes:   l.laneBytes,
		MaxMsgSize: int32(l.maxPayload - headroom),
		Duplicates: 10 * time.Minute,
	}
}

// later keeps scheduled copies and the due ones they fire into. Schedules
// exclude discard new and force AllowRollup, and every limit would drop them
// in silence: so there is none, and producers have no way here.
func later(lane wire.Lane) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              lane.LaterStream(),
		Subjects:          []string{lane.CopySubjects(wire.CopyAny)},
		Retention:         jetstream.WorkQueuePolicy,
		Discard:           jetstream.DiscardOld,
		AllowMsgSchedules: true,
		AllowRollup:       true,
	}
}

// record has no limit per subject: a record that is overwritten before it
// was sourced would be missing in MAIL_EVENT.
func record() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        wire.StreamRecord,
		Subjects:    []string{"mail.record.*.*.*.*"},
		Retention:   jetstream.LimitsPolicy,
		Discard:     jetstream.DiscardOld,
		MaxAge:      14 * day,
		AllowMsgTTL: true,
	}
}

// event is what people read: every record again, in a bounded number of
// subjects, and operators' acts on a whole lane. When it is full it gives way.
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
				// schema.Line.EventSubject and schema.EventBuckets say the same.
				Destination: "mail.event.{{wildcard(1)}}.{{partition(4096,2)}}",
			}},
		}},
	}
}

// dead keeps one letter a line.
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

// over puts our settings over those of a stream that exists. What is an
// operator's to choose stays: description, placement and the like. Compression
// is not: after a kill a compressed block may not be read again ("s2: corrupt
// input"), and its stream takes nothing more.
func over(have, want jetstream.StreamConfig) jetstream.StreamConfig {
	c := want
	c.Description, c.Placement = have.Description, have.Placement
	c.MaxConsumers, c.ConsumerLimits = have.MaxConsumers, have.ConsumerLimits
	c.FirstSeq, c.PersistMode = have.FirstSeq, have.PersistMode
	c.AllowAtomicPublish, c.AllowBatchPublish = have.AllowAtomicPublish, have.AllowBatchPublish
	if c.Replicas == 0 {
		c.Replicas = have.Replicas
	}
	if c.Duplicates == 0 {
		c.Duplicates = have.Duplicates
	}
	if sized(want) {
		c.MaxBytes = have.MaxBytes
	}
	c.Metadata = stamp(have.Metadata)
	return c
}

// sized streams have a part of the room. JetStream reserves it, so it is fixed
// when the stream is made.
func sized(s jetstream.StreamConfig) bool {
	return s.Discard == jetstream.DiscardNew || s.Name == wire.StreamEvent
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
