package wire

import (
	"testing"
	"time"

	"github.com/postrider/postrider/mail"
)

func TestOriginTime(t *testing.T) {
	t.Parallel()
	at := time.Unix(1700000000, 123456789)
	if got, ok := OriginTime(Origin(at, 17)); !ok || !got.Equal(at) {
		t.Errorf("%v %v", got, ok)
	}
	for _, s := range []string{"", "m1", "17-1", "1700000000000000000", "1700000000000000000-", "1700000000000000000-x", "-1700000000000000000-1", "99999999999999999999-1",
		"0000000000000000-1", "1700000000000000000-01", "1700000000000000000-99999999999999999999", "+170000000000000000-7"} {
		if _, ok := OriginTime(s); ok {
			t.Errorf("%q is taken for an origin", s)
		}
	}
}

func FuzzOriginTime(f *testing.F) {
	f.Add("1700000000000000000-7")
	f.Add("+170000000000000000-7")
	f.Add("0000000000000000-000000000000000000000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := OriginTime(s); ok && (at.Before(time.Unix(0, 0)) || mail.Token(s) != s) {
			t.Errorf("%q is taken for an origin of %v", s, at)
		}
	})
}

func TestScheduledAt(t *testing.T) {
	t.Parallel()
	at := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	h := map[string][]string{}
	Schedule(h, at, Key{Lane: "normal", ID: "m", Origin: "1-1", Recipient: All})
	if got, ok := ScheduledAt(h); !ok || !got.Equal(at) {
		t.Errorf("%v %v", got, ok)
	}
	for _, v := range []string{"", "@every 1m", "@at soon"} {
		if _, ok := ScheduledAt(map[string][]string{headerSchedule: {v}}); ok {
			t.Errorf("%q is taken for a time", v)
		}
	}
}

func FuzzScheduledAt(f *testing.F) {
	f.Add("@at 2030-01-02T03:04:05.000000006Z")
	f.Fuzz(func(t *testing.T, s string) {
		if at, ok := ScheduledAt(map[string][]string{headerSchedule: {s}}); ok && at.IsZero() && s == "" {
			t.Error("an empty header is a time")
		}
	})
}
