package mail

import (
	"strings"
	"testing"
)

func FuzzAddrSpecs(f *testing.F) {
	for _, s := range []string{"a@b", "N <a@b>, c@d", `"q\"<" <a@b>`, "g: a@b, c@d;", "<@r:a@b>", "a . b@c (x(y))", "a@[IPv6:::1]", "\"\\", "a..b@c., .d@e_f (x)"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		list, err := AddrSpecs(s)
		for _, a := range list {
			if verr := ValidateAddrSpec(a); verr != nil {
				t.Fatalf("%q gives %q: %v (%v)", s, a, verr, err)
			}
			checkCanonical(t, a)
		}
	})
}

// checkCanonical: what goes between angle brackets cannot get out of them.
func checkCanonical(t *testing.T, a string) {
	t.Helper()
	c := Canonical(a)
	if err := ValidateAddrSpec(c); err != nil && len(a) < maxAddress-2 {
		t.Fatalf("%q becomes %q: %v", a, c, err)
	}
	if Canonical(c) != c || !SameAddress(a, c) || Normalize(a) != Normalize(c) {
		t.Fatalf("%q and %q are not the same mailbox", a, c)
	}
	if _, domain, _ := strings.Cut(c[lastUnquoted(c, '@'):], "@"); strings.ContainsAny(domain, "<> \"\r\n\x00") {
		t.Fatalf("%q breaks out", c)
	}
	local := c[:lastUnquoted(c, '@')]
	if _, quoted := unquote(local); HasControl(local) || !quoted && strings.ContainsAny(local, "<> \"\\()[],;:@") {
		t.Fatalf("%q breaks out", c)
	}
}
