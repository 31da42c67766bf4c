package storm

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestExplained: a fault explains a double only if it hit between the first acceptance and
// its record, or the second one.
func TestExplained(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name     string
		dots     []int // seconds
		recorded int   // 0 for never
		faults   [][2]int
		want     bool
	}{
		{"once", []int{10}, 11, nil, true},
		{"twice without a fault", []int{10, 30}, 0, nil, false},
		{"killed before the record", []int{10, 30}, 31, [][2]int{{20, 21}}, true},
		{"killed after the record", []int{10, 30}, 15, [][2]int{{20, 21}}, false},
		{"killed before and recorded late", []int{10, 30}, 15, [][2]int{{12, 13}}, true},
		{"killed before both", []int{10, 30}, 31, [][2]int{{5, 6}}, false},
		{"killed after both", []int{10, 30}, 31, [][2]int{{40, 41}}, false},
		{"away all the time", []int{10, 30}, 31, [][2]int{{5, 50}}, true},
		{"three times, and one fault", []int{10, 30, 50}, 51, [][2]int{{20, 21}}, false},
		{"three times, and two faults", []int{10, 30, 50}, 51, [][2]int{{20, 21}, {40, 41}}, true},
	} {
		k, recorded, faults := Key{"m1", "ann@x.test"}, map[Key]time.Time{}, []Fault{}
		if c.recorded > 0 {
			recorded[k] = at(c.recorded)
		}
		for _, f := range c.faults {
			faults = append(faults, Fault{at(f[0]), at(f[1])})
		}
		file := filepath.Join(t.TempDir(), "open")
		f, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range c.dots {
			for _, what := range []string{"dot", "reply"} {
				if err := json.NewEncoder(f).Encode(Turn{at(s), what, "<1-1.m1@x>", []string{k.Rcpt}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := Explained(file, faults, recorded)
		if err != nil || got[k] != c.want {
			t.Errorf("%s: %v (%v), want %v", c.name, got[k], err, c.want)
		}
	}
}
