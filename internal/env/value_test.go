package env

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

// upper is a type that reads itself.
type upper string

func (u *upper) UnmarshalText(b []byte) error {
	if len(b) > 3 {
		return errors.New("too long")
	}
	*u = upper(strings.ToUpper(string(b)))
	return nil
}

func TestParse(t *testing.T) {
	t.Parallel()
	var x struct {
		Age   time.Duration
		After []time.Duration
		N     int
		Yes   bool
		Word  upper
	}
	v := reflect.ValueOf(&x).Elem()
	for i, s := range []string{"1d12h", "90s, 2h,3d", "-7", "true", "abc"} {
		if err := parse(v.Field(i), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
	want := []string{"1d12h", "1m30s,2h,3d", "-7", "true", "ABC"}
	for i, w := range want {
		if got := format(v.Field(i)); got != w {
			t.Errorf("written %s, want %s", got, w)
		}
	}
	for i, c := range []struct{ value, want string }{
		{"soon", `"soon" is not a duration like 90s, 2h or 1d12h`}, {"1m,,2m", "in a list like 1m,5m,1h"}, {"7.5", `"7.5" is not a whole number`},
		{"perhaps", `"perhaps" is not true or false`}, {"long", "too long"},
	} {
		if err := parse(v.Field(i), c.value); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.value, err, c.want)
		}
		if got := format(v.Field(i)); got != want[i] {
			t.Errorf("%s changed the value to %s", c.value, got)
		}
	}
}

func TestDurationFlag(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Duration]string{
		0: "0", 90 * time.Second: "1m30s", time.Hour: "1h", 24 * time.Hour: "1d", 36 * time.Hour: "1d12h", 120 * time.Hour: "5d",
		25*time.Hour + time.Minute: "1d1h1m", 100 * time.Millisecond: "100ms", -time.Hour: "-1h", -48 * time.Hour: "-2d",
	} {
		d := Duration(in)
		if got := d.String(); got != want {
			t.Errorf("%v is written %s, want %s", in, got, want)
		}
		if err := d.Set(want); err != nil || time.Duration(d) != in {
			t.Errorf("%s is read as %v, %v", want, time.Duration(d), err)
		}
	}
	d := Duration(time.Second)
	if err := d.Set("soon"); err == nil || d != Duration(time.Second) {
		t.Errorf("soon: %v, %v", d, err)
	}
}
