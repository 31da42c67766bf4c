package compose

import "testing"

func TestPath(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, want string
		utf8     bool
	}{
		{"", "", false}, {"a@example.com", "a@example.com", false}, {"a@[192.0.2.1]", "a@[192.0.2.1]", false},
		{"a@bücher.example", "a@xn--bcher-kva.example", false}, {"jörg@example.com", "jörg@example.com", true},
		{"jörg@bücher.example", "jörg@xn--bcher-kva.example", true},
		{"user..name@docomo.example", `"user..name"@docomo.example`, false}, {"name.@x.example.", `"name."@x.example`, false},
		{`"a b"@x.example.`, `"a b"@x.example`, false}, {"root@web_01.bücher.example", "root@web_01.xn--bcher-kva.example", false},
	} {
		path, err := pathOf(c.in)
		got, utf8 := path.Address, path.UTF8
		if got != c.want || utf8 != c.utf8 || err != nil {
			t.Errorf("pathOf(%q) = %q, %v, %v", c.in, got, utf8, err)
		}
	}
	if _, err := pathOf("a@\u0378.example"); err == nil {
		t.Error("a domain of unassigned characters was accepted")
	}
}
