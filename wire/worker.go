package wire

import (
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
)

// StreamState is the key-value bucket POSTRIDER: what workers say of themselves.
const (
	StreamState   = "KV_POSTRIDER"
	StateSubjects = "$KV.POSTRIDER.>"
	// WorkerSubjects matches the entries of all workers.
	WorkerSubjects = "$KV.POSTRIDER.worker.*"
)

// WorkerVersion is the version of [Worker]'s shape.
const WorkerVersion = 1

// WorkerState is what a worker does.
type WorkerState string

const (
	// WorkerRunning: it takes mail.
	WorkerRunning WorkerState = "running"
	// WorkerWaiting: it takes none, because its relay is down.
	WorkerWaiting WorkerState = "waiting"
	// WorkerStopping: it takes none any more, and settles what it has in flight.
	WorkerStopping WorkerState = "stopping"
)

// Worker is what a worker says of itself under the key worker.<id> of the bucket.
type Worker struct {
	V int `json:"v"`
	// ID is random, and another one after each start.
	ID      string    `json:"id"`
	Host    string    `json:"host"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	// PID is that of its process on Machine, which names the processes among which it is
	// unique; empty if that is not known.
	PID     int    `json:"pid,omitzero"`
	Machine string `json:"machine,omitempty"`
	// Replaces are the IDs of workers of that machine that had ended without removing
	// their entries when it started.
	Replaces []string `json:"replaces,omitempty"`
	// At is when it was written. All times are the broker's.
	At    time.Time   `json:"at"`
	State WorkerState `json:"state"`
	Lanes []Lane      `json:"lanes"`
	Relay Relay       `json:"relay"`
	// AckWaitMS is the ack wait that it uses; 0 if an older version wrote this.
	AckWaitMS int64 `json:"ack_wait_ms,omitzero"`
	// Found counts the messages of its lanes that were in flight when it started, if no
	// other worker ran.
	Found uint64 `json:"found,omitzero"`
	// RulesFault says what is wrong with its file of rules, so that it uses the former
	// ones; empty if nothing is.
	RulesFault string `json:"rules_fault,omitempty"`
}

// RelayState is what a worker knows of its relay.
type RelayState string

const (
	// RelayUp: mail is sent to it.
	RelayUp RelayState = "up"
	// RelayDown: none is.
	RelayDown RelayState = "down"
	// RelayTrial: it accepts sessions again, and one message at a time is sent.
	RelayTrial RelayState = "trial"
)

// Relay is the state of a relay, as one worker has it.
type Relay struct {
	// Name is its host:port.
	Name  string     `json:"name"`
	State RelayState `json:"state"`
	// Since is when it came up or, if it is not up, went down; zero if it was up from the
	// beginning.
	Since time.Time `json:"since,omitzero"`
	// Words are what the relay did, with its reply; Hint is what to do about it. Both
	// are empty if it is up.
	Words string `json:"words,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Alarm: it lasts until somebody changes something.
	Alarm bool `json:"alarm,omitzero"`
	// Held are senders whose mail it refuses while it accepts that of others, each with
	// the reply.
	Held []string `json:"held,omitempty"`
	// Next is when the relay is tried again; zero if it is not down.
	Next time.Time `json:"next,omitzero"`
}

// Subject is where the worker writes its entry.
func (w *Worker) Subject() string { return "$KV.POSTRIDER.worker." + w.ID }

// Encode writes the entry as JSON.
func (w *Worker) Encode() ([]byte, error) {
	b, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("write the state of the worker: %w", err)
	}
	return b, nil
}

// DecodeWorker reads an entry. It fails with [ErrNewer] if its version is unknown here.
func DecodeWorker(b []byte) (*Worker, error) {
	var w Worker
	if err := json.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("read the state of a worker: %w", err)
	}
	if w.V < 1 {
		return nil, errors.New("read the state of a worker: it has no version")
	}
	if w.V != WorkerVersion {
		return nil, fmt.Errorf("state of a worker, version %d, known is %d: %w", w.V, WorkerVersion, ErrNewer)
	}
	return &w, nil
}
