package wire

import "testing"

func TestLanesText(t *testing.T) {
	t.Parallel()
	var l Lanes
	if err := l.UnmarshalText([]byte("urgent=6, bulk")); err != nil || len(l) != 2 || l[1] != (Weighted{"bulk", 1}) {
		t.Errorf("%v %v", l, err)
	}
	for _, bad := range []string{"", "UP=1", "a=0", "a=x", "a,a", "a=1001"} {
		if l.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
