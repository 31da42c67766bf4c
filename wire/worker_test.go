package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestWorker: what a worker says of itself is read as it was written, with fields of
// later versions; another version is not.
func TestWorker(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	w := &Worker{
		V: WorkerVersion, ID: "X1", Host: "h1", Version: "v1.2.3", Started: at.Add(-time.Hour), At: at, State: WorkerWaiting, Lanes: []Lane{"normal", "bulk"},
		Relay:      Relay{Name: "r:25", State: RelayDown, Since: at.Add(-time.Minute), Words: "refused us: 421 no", Hint: "wait", Alarm: true, Next: at.Add(time.Second)},
		RulesFault: "POSTRIDER_RELAYS: /r.yaml: no",
	}
	b, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	later := strings.Replace(string(b), `"host":`, `"mood":"good","host":`, 1)
	for _, s := range []string{string(b), later} {
		if got, err := DecodeWorker([]byte(s)); err != nil || !reflect.DeepEqual(got, w) {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	w.V = WorkerVersion + 1
	if b, err = w.Encode(); err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeWorker(b); !errors.Is(err, ErrNewer) {
		t.Errorf("%+v, %v; want ErrNewer", got, err)
	}
	if _, err := DecodeWorker([]byte(`{"id":"X1"}`)); err == nil || errors.Is(err, ErrNewer) {
		t.Errorf("without a version: %v", err)
	}
	if _, err := DecodeWorker([]byte("{")); err == nil || errors.Is(err, ErrNewer) {
		t.Errorf("not JSON: %v", err)
	}
	if got := w.Subject(); got != "$KV.POSTRIDER.worker.X1" || !covers(WorkerSubjects, got) || !covers(StateSubjects, got) {
		t.Error(got)
	}
}
