package mail

import (
	"slices"
	"testing"
)

func TestSplitList(t *testing.T) {
	t.Parallel()
	for list, want := range map[string][]string{
		"": nil, " , ,": nil, "a@x": {"a@x"}, "a@x, b@y ,": {"a@x", "b@y"},
		`"Doe, Ann" <a@x>, b@y`: {`"Doe, Ann" <a@x>`, "b@y"}, `"a\",b"@x,c@y`: {`"a\",b"@x`, "c@y"}, "<a,b>,c": {"<a,b>", "c"}, `"open,`: {`"open,`},
	} {
		if got := SplitList(list); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", list, got, want)
		}
	}
}
