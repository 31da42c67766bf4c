package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/wire"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

func TestWords(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 80 * time.Second: "1m20s", 10 * time.Minute: "10m", time.Hour: "1h",
		25 * time.Hour: "1d1h", 48 * time.Hour: "2d", 20*time.Hour + 30*time.Minute: "20h30m", 630 * time.Second: "10m30s", 100 * 24 * time.Hour: "100d",
	} {
		if got := short(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 12345678: "12,345,678"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
	if got := names([]string{"a", "b", "c", "d", "e"}); got != "a, b, c and 2 more" {
		t.Error(got)
	}
	if got := quote(`it's`); got != `'it'\''s'` {
		t.Error(got)
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	stdin := strings.NewReader("m1\ta@b\tfailed\n\nm2\n{\"id\":\"an id\",\"lane\":\"x\"}\n  m3  \n")
	ids, err := readIDs(stdin, []string{"x", "-", "y"})
	if got := strings.Join(ids, ","); err != nil || got != "x,m1,m2,an id,m3,y" {
		t.Error(got)
	}
}

// FuzzID: whatever line comes in, what comes out is one line's and no more.
func FuzzID(f *testing.F) {
	for _, s := range []string{"m1", "m1\tx", `{"id":"a"}`, `{"id":7}`, "{", "\t", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		id := idIn(line)
		if strings.HasPrefix(line, "{") {
			return
		}
		if strings.Contains(id, "\t") || !strings.Contains(line, id) {
			t.Errorf("%q gave %q", line, id)
		}
	})
}

// FuzzPrintable: nothing that a terminal would obey.
func FuzzPrintable(f *testing.F) {
	f.Add([]byte("a\x1b[2J\r\n\u009b31m\x00\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range printable(b) {
			if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f {
				t.Errorf("%q lets %q through", b, r)
			}
		}
	})
}

// TestWriteStatus: what is wrong is said and its lane is red; without colours
// the same words.
func TestWriteStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	g := &queue.Status{At: now, Used: 80, Limit: 100, Died: 1, Lanes: []queue.Lane{
		{Lane: "bulk", Waiting: 10000, Oldest: now.Add(-2 * time.Hour)},
		{Lane: "normal", Waiting: 5, InFlight: 5, Oldest: now.Add(-time.Hour), Rate: 2, Empty: now.Add(5 * time.Second), Dead: 3},
		{Lane: "urgent", Due: 1, Oldest: now.Add(-time.Second)},
	}}
	wrong := wrongs(g)
	for i, want := range []string{"bulk: 10,000 mails ready for 2h, and nothing was settled", "normal: behind: the oldest mail has been ready for 1h", "the store is 80 % full", "1 mail died within the last hour"} {
		if len(wrong) != 4 || !strings.HasPrefix(wrong[i], want) {
			t.Fatalf("%q, want %q", wrong, want)
		}
	}
	var plain, coloured bytes.Buffer
	if err := writeStatus(&plain, paint{}, g, wrong); err != nil {
		t.Fatal(err)
	}
	if err := writeStatus(&coloured, paint{on: true}, g, wrong); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(coloured.String(), "\x1b[31m     bulk    10,000") || strings.Contains(plain.String(), "\x1b") {
		t.Errorf("%q", coloured.String())
	}
	if !strings.Contains(plain.String(), "2.0/s         5s") {
		t.Error(plain.String())
	}
	plain.Reset()
	if err := writeStatus(&plain, paint{}, &queue.Status{At: now, Lanes: []queue.Lane{{Lane: "normal"}}}, nil); err != nil || !strings.Contains(plain.String(), "Nothing is wrong.") {
		t.Error(plain.String())
	}
	if wrong := wrongs(&queue.Status{At: now}); len(wrong) != 1 || !strings.HasPrefix(wrong[0], "the broker has no lanes") {
		t.Errorf("of a broker without streams: %q", wrong)
	}
}

// TestDeliveredIsForGood: whatever a later record of the line says.
func TestDeliveredIsForGood(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	record := func(generation int, line string, state wire.State) *wire.Record {
		return &wire.Record{ID: "m", Lane: "normal", Recipient: line, Generation: generation, At: at, Event: wire.EventFailed,
			Recipients: []wire.RecipientRecord{{Address: "a@x.test", State: state, Reason: mail.ReasonFailed}}}
	}
	w := &way{origin: "1700000000000000000-1", records: []*wire.Record{
		record(0, "all", wire.StateScheduled), record(1, "0", wire.StateDelivered), record(2, "0", wire.StateDead),
	}}
	if f := w.view(at, nil).Recipients[0]; f.State != wire.StateDelivered || !strings.HasPrefix(f.Is, "delivered") {
		t.Errorf("%+v", f)
	}
	w.records = w.records[:1]
	if f := w.view(at, nil).Recipients[0]; f.State != wire.StateScheduled || !strings.Contains(f.Is, "its copy is being made") {
		t.Errorf("%+v", f)
	}
}

// TestIDsTooLong: a line that cannot be read ends the reading with an error; what
// stands behind it is not passed over in silence.
func TestIDsTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 70_000)
	stdin := strings.NewReader("m1\n" + long + "\nm2\n")
	if ids, err := readIDs(stdin, []string{"-"}); err != nil || len(ids) != 3 || ids[2] != "m2" {
		t.Errorf("%d ids, %v", len(ids), err)
	}
	stdin = strings.NewReader("m1\n" + strings.Repeat(long, 20) + "\nm2\n")
	if _, err := readIDs(stdin, []string{"-"}); err == nil || !strings.Contains(err.Error(), "after 1 of them") {
		t.Errorf("got %v", err)
	}
}
