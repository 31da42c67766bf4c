package env

import (
	"net/url"
	"reflect"
	"regexp"
	"strings"

	"github.com/postrider/postrider/mail"
)

// Setting is a variable and what is in force.
type Setting struct {
	Name string `json:"name"`
	// Value as it would be written in the environment; for a secret only that it
	// is set.
	Value string `json:"value"`
	// Source is default, environment, or file and its name.
	Source string `json:"source"`
	Help   string `json:"help"`
	Secret bool   `json:"secret,omitempty"`
}

// List gives the settings that the targets hold after [Read], in their order.
func List(lookup Lookup, targets ...any) []Setting {
	var all []Setting
	for _, target := range targets {
		v := reflect.ValueOf(target).Elem()
		for i := range v.NumField() {
			f := v.Type().Field(i)
			name, ok := f.Tag.Lookup("env")
			if !ok {
				continue
			}
			secret := isSecret(f.Type)
			all = append(all, Setting{
				Name: name, Value: shown(f.Tag.Get("shape"), format(v.Field(i))), Source: source(lookup, name, secret),
				Help: f.Tag.Get("help"), Secret: secret,
			})
		}
	}
	return all
}

// source is where a value comes from.
func source(lookup Lookup, name string, secret bool) string {
	if v, ok := lookup(name); ok && v != "" {
		return "environment"
	}
	if file, ok := lookup(name + "_FILE"); secret && ok && file != "" {
		return "file " + file
	}
	return "default"
}

const (
	host    = `([A-Za-z0-9._-]+|\[[A-Za-z0-9.:%]+\])(:[0-9]{1,5})?`
	rest    = `/?(\?(tls=(none|opportunistic|required)|REDACTED))?`
	userAnd = `(REDACTED@)?`
)

// shapes are what may be printed of a setting that has that tag: shape. Whatever else
// is in it may be a mistyped secret.
var shapes = map[string]*regexp.Regexp{
	"url":     regexp.MustCompile(`^([a-z]+://(` + userAnd + host + rest + `|REDACTED))?$`),
	"hosts":   regexp.MustCompile(`^(([a-z]+://)?(` + userAnd + host + rest + `|REDACTED)(, *|$))*$`),
	"address": regexp.MustCompile(`^([A-Za-z0-9._-]*|\[[A-Za-z0-9.:%]+\]):[0-9]{1,5}$`),
}

// shown is the value without what may be a secret.
func shown(shape, value string) string {
	value = withoutPassword(value)
	if may := shapes[shape]; may == nil || may.MatchString(value) {
		return value
	}
	if scheme, _, ok := strings.Cut(value, "://"); ok && shape != "address" {
		return scheme + "://" + hidden
	}
	return hidden
}

// withoutPassword hides what may be secret in a URL: the user and password
// before its host, as NATS_URL may have them, also if they are mistyped with
// commas or slashes; options that no URL of ours has; and everything of a URL
// that cannot be read.
func withoutPassword(s string) string {
	scheme, rest, isURL := strings.Cut(s, "://")
	if at := strings.LastIndexByte(s, '@'); at >= 0 {
		if before, _, ok := strings.Cut(s[:at], "://"); ok {
			return before + "://" + hidden + withoutOptions(s[at:])
		}
		return hidden + withoutOptions(s[at:])
	}
	if !isURL {
		return s
	}
	for part := range strings.SplitSeq(s, ",") {
		if _, err := url.Parse(part); err != nil {
			return scheme + "://" + hidden
		}
	}
	return scheme + "://" + withoutOptions(rest)
}

func withoutOptions(s string) string {
	host, options, _ := strings.Cut(s, "?")
	if options == "" || strings.HasPrefix(options, "tls=") {
		return s
	}
	return host + "?" + hidden
}

// hidden replaces a secret.
var hidden = mail.Secret("set").String()
