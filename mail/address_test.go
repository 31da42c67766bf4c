package mail

import (
	"strings"
	"testing"
)

// TestAddrSpec: what relays take is taken, and written so that they can read it. Only
// what could break out of the brackets, or cannot be an address, is refused.
func TestAddrSpec(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"a@example.net":                    "a@example.net",
		"user..name@docomo.example":        `"user..name"@docomo.example`,
		"name.@docomo.example":             `"name."@docomo.example`,
		".name@docomo.example":             `".name"@docomo.example`,
		".@x.example":                      `"."@x.example`,
		`"user..name"@docomo.example`:      `"user..name"@docomo.example`,
		"jörg..x@example.net":              `"jörg..x"@example.net`,
		"reply+" + token + "@in.example":   "reply+" + token + "@in.example",
		strings.Repeat("l", 252) + "@b":    strings.Repeat("l", 252) + "@b",
		"root@web_01.example.com":          "root@web_01.example.com",
		"root@_x_.example.com":             "root@_x_.example.com",
		"root@web_01":                      "root@web_01",
		"root@web_01.bücher.example":       "root@web_01.bücher.example",
		"ann@example.net.":                 "ann@example.net",
		"ann..x@[192.0.2.1]":               `"ann..x"@[192.0.2.1]`,
		"":                                 "",
		"@example.net":                     "",
		"a@":                               "",
		"a@.":                              "",
		"a@example.net..":                  "",
		"a@example..net":                   "",
		"a@.example.net":                   "",
		"a@[192.0.2.1].":                   "",
		"a b@example.net":                  "",
		"a<b@example.net":                  "",
		"a..b>@example.net":                "",
		"a..b\r\n@example.net":             "",
		"a..\"b@example.net":               "",
		"a..b\\@example.net":               "",
		"a\u0085..b@example.net":           "",
		"a..b@x> SIZE=1 <":                 "",
		"a@b_＜c.example":                   "",
		"a@b_⑴.example":                    "",
		strings.Repeat("l", 253) + "@b":    "",
		strings.Repeat("l.", 126) + "@b":   "", // 254 octets, and two quotes
		"a@" + strings.Repeat("d", 64):     "",
		"ann@example.net ":                 "",
		"ann@example.net, bob@example.net": "",
	} {
		err := ValidateAddrSpec(in)
		if (err == nil) != (want != "") {
			t.Errorf("%q: %v", in, err)
			continue
		}
		if err == nil {
			if got := Canonical(in); got != want {
				t.Errorf("%q is written as %q, want %q", in, got, want)
			}
			checkCanonical(t, in)
		}
	}
}

// TestShown: an address that is only shown may be longer, and is held to the same form.
func TestShown(t *testing.T) {
	t.Parallel()
	for email, ok := range map[string]bool{
		strings.Repeat("r", 898) + "@b": true, strings.Repeat("r", 899) + "@b": false, "a..b@c": true, "a b@c": false, "a\r\nX: y@c": false,
	} {
		if err := (Address{Email: email}).ValidateShown(); (err == nil) != ok {
			t.Errorf("%.20q of %d octets: %v", email, len(email), err)
		}
	}
}

func TestSameAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		addr, wanted string
		same         bool
	}{
		{"Ann@Example.net.", "ann@example.net", true}, {"ann@example.net", "ann@example.net.", true}, {"ann@example.net.", "@example.net", true},
		{"ann@example.net", "@example.net.", true}, {"a..b@c", `"a..b"@c`, true}, {"a.b@c", "ab@c", false}, {"a@xexample.net", "@example.net", false},
	} {
		if SameAddress(c.addr, c.wanted) != c.same {
			t.Errorf("%q and %q: want same %v", c.addr, c.wanted, c.same)
		}
	}
}

func TestIsHostName(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"mail.example.com": true, "[192.0.2.1]": true, "[IPv6:::1]": true, "bücher.example": true,
		"web_01.example.com": false, "example.com.": false, "": false, "a b": false, "a\r\nMAIL": false,
	} {
		if IsHostName(name) != ok {
			t.Errorf("%q: want %v", name, ok)
		}
	}
}
