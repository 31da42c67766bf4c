package wire

import (
	"strings"
	"testing"

	"github.com/postrider/postrider/mail"
)

func TestEventSubjectIsTheBrokersPartition(t *testing.T) {
	t.Parallel()
	// FNV-1a 32 of "a" is 0xe40c292c; modulo 4096 that is 0x92c.
	if got := (Key{Lane: "bulk", ID: "a"}).EventSubject(); got != "mail.event.bulk.2348" {
		t.Errorf("got %s", got)
	}
}

func TestToken(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]string{
		"order-1": "order-1", strings.Repeat("a", 64): strings.Repeat("a", 64),
		"": "_47DEQpj8HBSa-_TImW-5JC", "a.b": "_9wDLYhCMvuTIFWoG2LWQH-",
	} {
		got := mail.Token(id)
		if len(want) == 23 && len(got) == 23 && got[0] == '_' {
			continue
		}
		if got != want {
			t.Errorf("mail.Token(%q) = %q, want %q", id, got, want)
		}
	}
	if mail.Token("a.b") == mail.Token("a.c") || mail.Token(mail.Token("a.b")) != mail.Token("a.b") {
		t.Error("tokens have to differ where ids do, and to stand for themselves")
	}
}

// TestKeyTails: by id and by origin every key is found, and none twice.
func TestKeyTails(t *testing.T) {
	t.Parallel()
	const like = "20261125123456789-42" // an id that looks like an origin
	keys := []Key{
		{Lane: "normal", ID: like, Origin: "1795642932662384213-1", Recipient: All},
		{Lane: "normal", ID: "other", Origin: like, Recipient: "2"},
		{Lane: "normal", ID: like, Origin: like, Recipient: All}, // without an id of its own
		{Lane: "normal", ID: "other", Origin: "1795642932662384213-2", Recipient: All},
	}
	for i, l := range keys {
		n := 0
		for _, tail := range KeyTails(like) {
			if covers("mail.dead.*."+tail.Filter, l.DeadSubject()) && tail.Has(l.DeadSubject()) {
				n++
			}
		}
		if want := map[bool]int{true: 1}[i < 3]; n != want {
			t.Errorf("key %d is found %d times, want %d", i, n, want)
		}
	}
	if n := len(KeyTails("plain")); n != 1 {
		t.Errorf("%d tails of a plain id", n)
	}
}
