package mail

import "testing"

func FuzzAddrSpecs(f *testing.F) {
	for _, s := range []string{"a@b", "N <a@b>, c@d", `"q\"<" <a@b>`, "g: a@b, c@d;", "<@r:a@b>", "a . b@c (x(y))", "a@[IPv6:::1]", "\"\\"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, s []byte) {
		list, err := AddrSpecs(s)
		for _, a := range list {
			if verr := ValidateAddrSpec(a); verr != nil {
				t.Fatalf("%q gives %q: %v (%v)", s, a, verr, err)
			}
		}
	})
}
