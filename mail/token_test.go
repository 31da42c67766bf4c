package mail

import "testing"

// TestQuote: an id goes into a shell as one word, whatever a producer chose.
func TestQuote(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{"m1": "m1", "an id": "'an id'", "it's": `'it'\''s'`} {
		if got := Quote(id); got != want {
			t.Errorf("%s: %s", id, got)
		}
	}
}
