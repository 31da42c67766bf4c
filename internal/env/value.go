package env

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/sethvargo/go-envconfig"

	"github.com/postrider/postrider/internal/check"
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
	case *int:
		n, err := strconv.Atoi(s)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		*x = n
		return nil
	case *bool:
		yes, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is not true or false", s)
		}
		*x = yes
		return nil
	}
	return parseBasic(v, s)
}

// parseBasic reads one value by itself: envconfig stops at the first error.
func parseBasic(v reflect.Value, s string) error {
	one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Value", Type: v.Type(), Tag: `env:"VALUE"`}}))
	// Nothing here waits, so there is nothing to cancel.
	err := envconfig.ProcessWith(context.Background(), &envconfig.Config{
		Target: one.Interface(), Lookuper: envconfig.MapLookuper(map[string]string{"VALUE": s}),
	})
	if err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "Value: "))
	}
	v.Set(one.Elem().Field(0))
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
		return check.Duration(x)
	case []time.Duration:
		parts := make([]string, len(x))
		for i, d := range x {
			parts[i] = check.Duration(d)
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
