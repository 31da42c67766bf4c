package env

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// parse sets v to what s says. Lists of durations have commas. Its errors quote
// s only if it is no secret: a secret is a string, which cannot fail.
func parse(v reflect.Value, s string) error {
	switch x := v.Addr().Interface().(type) {
	case *time.Duration:
		d, err := ParseDuration(s)
		if err != nil {
			return err
		}
		*x = d
		return nil
	case *[]time.Duration:
		return parseDurations(x, s)
	case encoding.TextUnmarshaler:
		return x.UnmarshalText([]byte(s))
	}
	switch v.Kind() { //nolint:exhaustive // no setting has another kind
	case reflect.String:
		v.SetString(s)
	case reflect.Int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		v.SetInt(int64(n))
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is not true or false", s)
		}
		v.SetBool(b)
	default:
		return fmt.Errorf("a setting cannot be a %s", v.Type())
	}
	return nil
}

// parseDurations keeps the default if any duration cannot be read.
func parseDurations(all *[]time.Duration, s string) error {
	var parsed []time.Duration
	for part := range strings.SplitSeq(s, ",") {
		d, err := ParseDuration(strings.TrimSpace(part))
		if err != nil {
			return fmt.Errorf("%w, in a list like 1m,5m,1h", err)
		}
		parsed = append(parsed, d)
	}
	*all = parsed
	return nil
}

// format writes a value as the environment would have it.
func format(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return FormatDuration(x)
	case []time.Duration:
		parts := make([]string, len(x))
		for i, d := range x {
			parts[i] = FormatDuration(d)
		}
		return strings.Join(parts, ",")
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		if err != nil {
			return ""
		}
		return string(b)
	}
	return fmt.Sprint(v.Interface())
}
