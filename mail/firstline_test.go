package mail

import "testing"

func TestWithoutFirstLine(t *testing.T) {
	t.Parallel()
	const rest = "Subject: x\r\n\r\nFrom a body\r\n"
	for in, want := range map[string]string{
		rest:                  rest,
		"\ufeff" + rest:       rest,
		"\ufeff\ufeff" + rest: "\ufeff" + rest,
		" \ufeff" + rest:      " \ufeff" + rest,
		"From you@example.com Mon Jan  1 00:00:00 2024\n" + rest:              rest,
		">From you@example.com Mon Jan  1 00:00:00 2024\r\n" + rest:           rest,
		"From 0123456789abcdef Mon Sep 17 00:00:00 2001\n" + rest:             rest,
		"\ufeffFrom a Mon\r\n>From b Tue\r\n>From c remote from d\r\n" + rest: rest,
		"From \r\n" + rest:                     rest,
		"From : a@b\r\n" + rest:                "From : a@b\r\n" + rest,
		"From\t: a@b\r\n" + rest:               "From\t: a@b\r\n" + rest,
		"From: a@b\r\n" + rest:                 "From: a@b\r\n" + rest,
		">From: a@b\r\n" + rest:                ">From: a@b\r\n" + rest,
		"From a\x00b\r\n" + rest:               "From a\x00b\r\n" + rest,
		"From a\rBcc: x\r\n" + rest:            "From a\rBcc: x\r\n" + rest,
		"from a Mon\r\n" + rest:                "from a Mon\r\n" + rest,
		"Received: x\r\nFrom a Mon\r\n" + rest: "Received: x\r\nFrom a Mon\r\n" + rest,
		"From a Mon Jan":                       "",
		"":                                     "",
		"\ufeff":                               "",
	} {
		if got := string(WithoutFirstLine([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
