package wire

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/postrider/postrider/mail"
)

func TestCopyHeadersRoundTrip(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 8, time.UTC)
	c := Copy{
		Key: Key{Lane: "bulk", ID: "a b", Origin: Origin(now, 9), Recipient: "3"}, Generation: 4, Attempts: 2, Enqueued: now,
		Log:     []Attempt{{N: 1, Counted: true, At: now, Outcomes: []GroupedOutcome{{Recipients: Indexes{0, 1, 2, 7}, Class: mail.Deferred, Code: 450}}}},
		DeadSeq: 7, Replays: 1, Replayed: now,
	}
	h := c.Headers(map[string][]string{"X-Own": {"1", "2"}, "nats-Rollup": {"all"}, "postrider-hop": {"9"}})
	got, err := ParseCopy("bulk", h)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(got) != fmt.Sprint(c) {
		t.Errorf("got  %+v\nwant %+v", got, c)
	}
	if len(h["X-Own"]) != 2 || h["nats-Rollup"] != nil || h["postrider-hop"] != nil {
		t.Errorf("producer's headers: %v", h)
	}
	for name := range h {
		broken := maps.Clone(h)
		broken[name] = []string{"\x00"}
		if _, err := ParseCopy("bulk", broken); err == nil && name != "X-Own" && name != HeaderID && name != HeaderOrigin && name != HeaderRecipient {
			t.Errorf("%s: nonsense was read", name)
		}
	}
}

func TestEncodeLogKeepsFirstAndLast(t *testing.T) {
	t.Parallel()
	var log []Attempt
	for n := 1; n <= 100; n++ {
		log = append(log, Attempt{N: n, Outcomes: []GroupedOutcome{{Recipients: Indexes{0}, Reply: strings.Repeat("x", mail.MaxReply)}}})
	}
	if b := EncodeLog(log, 1<<20); strings.Count(string(b), `"n":`) != 100 {
		t.Error("a log that fits was shortened")
	}
	for _, limit := range []int{MaxLog, 4000, 700} {
		b := EncodeLog(log, limit)
		var got []Attempt
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		if len(b) > limit || got[len(got)-1].N != 100 || limit > 1000 && (got[0].N != 1 || len(got) < limit/500) {
			t.Errorf("limit %d: %d bytes, %d attempts, from %d to %d", limit, len(b), len(got), got[0].N, got[len(got)-1].N)
		}
	}
	if b := EncodeLog(log[:1], 200); len(b) > 200 || !strings.Contains(string(b), `"n":1`) {
		t.Errorf("one large attempt: %s", b)
	}
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Indexes{"": nil, "0": {0}, "0-2": {2, 0, 1}, "1,3-4,9": {9, 4, 3, 1}} {
		b, _ := want.MarshalText()
		if string(b) != text {
			t.Errorf("%v written as %q, want %q", want, b, text)
		}
		var got Indexes
		if err := got.UnmarshalText([]byte(text)); err != nil || len(got) != len(want) {
			t.Errorf("%q read as %v (%v)", text, got, err)
		}
	}
	for _, bad := range []string{"x", "-1", "3-1", "1-", ",", "0-99999999", "0-65535,0-65535"} {
		var got Indexes
		if got.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was read as %d indexes", bad, len(got))
		}
	}
}

func TestNewAttemptGroups(t *testing.T) {
	t.Parallel()
	to := make([]mail.Recipient, 1000)
	tx := mail.Transaction{Outcomes: make([]mail.Outcome, 1000)}
	for i := range to {
		to[i].Index = i
		tx.Outcomes[i] = mail.Outcome{Class: mail.Delivered, Code: 250, Reply: "ok"}
		if i >= 992 {
			tx.Outcomes[i] = mail.Outcome{Class: mail.Deferred, Code: 450, Reply: "later\r\nplease\xff"}
		}
	}
	a := NewAttempt(1, true, to, tx)
	if len(a.Outcomes) != 2 || len(a.Outcomes[0].Recipients) != 992 || a.Outcomes[1].Reply != "later  please?" {
		t.Errorf("%+v", a.Outcomes)
	}
	if b := marshalLog([]Attempt{a}); len(b) > 500 {
		t.Errorf("%d bytes: %s", len(b), b)
	}
}
