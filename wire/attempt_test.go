package wire

import (
	"strconv"
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
)

// TestAppendAttempt: in a script a letter is an attempt with that reply, a capital one counts.
// Of those in a row that are alike and do not count the first and the last are kept.
func TestAppendAttempt(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]string{
		"":               "",
		"a":              "a1",
		"aa":             "a1 a2",
		"aaa":            "a1 a3",
		"aaaaaaab":       "a1 a7 b8",
		"aaabbbaaa":      "a1 a3 b4 b6 a7 a9",
		"ababab":         "a1 b2 a3 b4 a5 b6",
		"AAAA":           "A1 A2 A3 A4",
		"aaAaaa":         "a1 a2 A3 a4 a6",
		"Baaaaaaaaaaaaa": "B1 a2 a14",
	} {
		var log []Attempt
		for i, c := range script {
			counted := c < 'a'
			class := map[bool]mail.Class{true: mail.Deferred, false: mail.Requeued}[counted]
			log = AppendAttempt(log, Attempt{N: i + 1, Counted: counted, Outcomes: []GroupedOutcome{{Class: class, Reply: string(c), Recipients: Indexes{0}}}})
		}
		var got []string
		for _, a := range log {
			got = append(got, a.Outcomes[0].Reply+strconv.Itoa(a.N))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%q: %q, want %q", script, s, want)
		}
	}
}
