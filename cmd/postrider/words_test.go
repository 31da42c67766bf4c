package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/queue"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

func TestMoment(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Time{
		"": {}, "2h": now.Add(-2 * time.Hour), "5d": now.AddDate(0, 0, -5), "1d12h": now.Add(-36 * time.Hour),
		"2029-12-31T00:00:00Z": time.Date(2029, 12, 31, 0, 0, 0, 0, time.UTC),
		"2029-12-31":           time.Date(2029, 12, 31, 0, 0, 0, 0, time.Local),
		queue.Clock(now):       now,
	} {
		if got, err := moment(s, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %s, %v; want %s", s, got, err, want)
		}
	}
}

func TestNoMoment(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"soon", "-2h", "2029-02-30", "15:04"} {
		if got, err := moment(s, time.Now()); err == nil {
			t.Errorf("%s: %s", s, got)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	stdin := strings.NewReader("m1\ta@b\tfailed\n\nm2\n{\"id\":\"an id\",\"lane\":\"x\"}\n  m3  \n")
	ids, err := readIDs(t.Context(), stdin, []string{"x", "-", "y"})
	if got := strings.Join(ids, ","); err != nil || got != "x,m1,m2,an id,m3,y" {
		t.Error(got)
	}
}

// FuzzID: whatever the line is, the id is a part of it without a tab.
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

// FuzzPrintable: nothing remains that a terminal would obey.
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

// TestWriteStatus: what is wrong is said, and the lane it is about has its colour;
// without colours the words are the same.
func TestWriteStatus(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := &queue.Status{At: now, Lanes: []queue.Lane{
		{Lane: "bulk", Waiting: 10000, Oldest: now.Add(-2 * time.Hour)},
		{Lane: "normal", Waiting: 5, InFlight: 5, Oldest: now.Add(-time.Hour), Rate: 2, Empty: now.Add(5 * time.Second), Dead: 3},
		{Lane: "spare"},
		{Lane: "urgent", Due: 1, Dead: 1, Oldest: now.Add(-time.Second)},
	}}
	wrong := []queue.Finding{
		{Level: queue.Problem, Check: queue.CheckMail, At: "bulk", Found: "stuck", Do: "look"},
		{Level: queue.Warning, Check: "room", At: "normal", Found: "full"},
	}
	written := func(p paint, s *queue.Status, wrong []queue.Finding) string {
		var b strings.Builder
		if err := writeStatus(&b, p, s, wrong); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	plain, coloured := written(paint{}, s, wrong), written(paint{on: true}, s, wrong)
	for _, want := range []string{"    bulk    10,000 ", " 2.0/s         5s\n", "\n\nproblem  mail  bulk: stuck\n               do: look\nwarning  room  normal: full\n"} {
		if !strings.Contains(plain, want) {
			t.Errorf("%q is missing:\n%s", want, plain)
		}
	}
	for _, want := range []string{"\x1b[31m     bulk ", "\x1b[33m   normal ", "\x1b[2m    spare ", "\x1b[33m   urgent "} {
		if !strings.Contains(coloured, want) {
			t.Errorf("%q is missing: %q", want, coloured)
		}
	}
	if got := regexp.MustCompile("\x1b\\[[0-9]+m").ReplaceAllString(coloured, ""); got != plain {
		t.Errorf("without its colours:\n%s\nwant\n%s", got, plain)
	}
	if got := written(paint{}, &queue.Status{At: now, Lanes: s.Lanes[2:3]}, nil); !strings.HasSuffix(got, "\n\nNothing is wrong.\n") {
		t.Error(got)
	}
}

// TestIDsTooLong: a line that cannot be read ends the reading with an error, so that
// no id behind it is left out silently.
func TestIDsTooLong(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 70_000)
	stdin := strings.NewReader("m1\n" + long + "\nm2\n")
	if ids, err := readIDs(t.Context(), stdin, []string{"-"}); err != nil || len(ids) != 3 || ids[2] != "m2" {
		t.Errorf("%d ids, %v", len(ids), err)
	}
	stdin = strings.NewReader("m1\n" + strings.Repeat(long, 20) + "\nm2\n")
	if _, err := readIDs(t.Context(), stdin, []string{"-"}); err == nil || !strings.Contains(err.Error(), "after 1 of them") {
		t.Errorf("got %v", err)
	}
}
