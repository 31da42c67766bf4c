package broker

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/stream"
)

// ours refuses a stream that something other than Postrider made or uses. newer
// reports that a newer Postrider set it up.
func ours(have, want jetstream.StreamConfig) (newer bool, err error) {
	v, err := strconv.Atoi(have.Metadata[versionKey])
	switch {
	case err != nil:
		return false, fmt.Errorf("stream %s: %w: its metadata has no %s; rename or remove it, or use another NATS account", want.Name, ErrForeign, versionKey)
	case v < firstVersion:
		return false, fmt.Errorf("stream %s: %w", want.Name, errDevelopment)
	case v > settingsVersion:
		return true, nil
	case have.Retention != want.Retention:
		return false, fmt.Errorf("stream %s: %w: its retention is %s, must be %s, and cannot be changed", want.Name, ErrForeign, have.Retention, want.Retention)
	case have.Storage != want.Storage:
		return false, fmt.Errorf("stream %s: %w: its storage is %s, must be %s, and cannot be changed", want.Name, ErrForeign, have.Storage, want.Storage)
	}
	for _, s := range have.Subjects {
		if !slices.Contains(want.Subjects, s) {
			return false, fmt.Errorf("stream %s: %w: it takes the subject %s; remove that subject from it", want.Name, ErrForeign, s)
		}
	}
	return false, nil
}

// streamDrift says how a stream that exists differs from what it must be: target
// is what it must become, diff has a sentence for each difference. A stream that
// a newer Postrider set up is not compared.
func streamDrift(have, want jetstream.StreamConfig) (target jetstream.StreamConfig, diff []string, newer bool, err error) {
	if newer, err = ours(have, want); err != nil || newer {
		return have, nil, newer, err
	}
	target = over(have, want)
	diff, err = differences(have, target)
	return target, diff, false, err
}

// consumerDrift is streamDrift for a consumer.
func consumerDrift(have, want jetstream.ConsumerConfig) (target jetstream.ConsumerConfig, diff []string, newer bool, err error) {
	if v, err := strconv.Atoi(have.Metadata[versionKey]); err == nil && v > settingsVersion {
		return have, nil, true, nil
	}
	target = overConsumer(have, want)
	diff, err = differences(have, target)
	return target, diff, false, err
}

// echoed checks that the server has understood the settings on which the promise
// rests: an older one drops those it does not know, without an error.
func echoed(have, want jetstream.StreamConfig) error {
	if want.AllowMsgSchedules && !have.AllowMsgSchedules || want.AllowMsgTTL && !have.AllowMsgTTL {
		return fmt.Errorf("stream %s: %w: it knows no message schedules or no message TTL; Postrider needs version %s", want.Name, ErrOldServer, minVersion)
	}
	return nil
}

// differences lists the settings that differ, in their names on the wire.
func differences(have, want any) ([]string, error) {
	h, err := settings(have)
	if err != nil {
		return nil, err
	}
	w, err := settings(want)
	if err != nil {
		return nil, err
	}
	var d []string
	for _, k := range slices.Sorted(maps.Keys(w)) {
		if string(h[k]) != string(w[k]) {
			d = append(d, fmt.Sprintf("%s is %s, must be %s", k, shown(k, h[k]), shown(k, w[k])))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(h)) {
		if _, ok := w[k]; !ok {
			d = append(d, fmt.Sprintf("%s is %s, must not be set", k, shown(k, h[k])))
		}
	}
	return d, nil
}

func settings(cfg any) (map[string]json.RawMessage, error) {
	b, err := json.Marshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("compare settings: %w", err)
	}
	m := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("compare settings: %w", err)
	}
	return m, nil
}

// shown is a setting for people, nanoseconds as a duration.
func shown(key string, v json.RawMessage) string {
	switch key {
	case "max_age", "duplicate_window", "ack_wait", "subject_delete_marker_ttl":
		if ns, err := strconv.ParseInt(string(v), 10, 64); err == nil {
			return check.Duration(time.Duration(ns))
		}
	}
	if v == nil {
		return "not set"
	}
	return string(v)
}

// Refusals of a provisioning request that a person can do something about.
const (
	codeNoPeers        = 10005
	codeOverlap        = 10065
	codeReplicasSingle = 10074
)

// refused adds to the error of a provisioning request its class and what to do.
func refused(err error) error {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		switch int(e.ErrorCode) {
		case codeNoPeers, codeReplicasSingle:
			return fmt.Errorf("the broker has fewer servers with room than that; set POSTRIDER_REPLICAS to what it has: %w", err)
		case codeOverlap:
			return fmt.Errorf("another stream takes the same subjects (%w); remove it or use another NATS account: %w", ErrForeign, err)
		}
	}
	return stream.Classify(err)
}
