package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// options say how to send, of a mail in either form.
type options struct {
	lane, at, expires, id string
	in                    time.Duration
	maxAttempts           int
	tags, meta            []string
	json                  bool
}

func (o *options) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.lane, "lane", "normal", "`LANE` to publish to")
	f.StringVar(&o.at, "at", "", "`TIME` to send at, RFC 3339, like 2030-01-02T15:04:05Z")
	f.DurationVar(&o.in, "in", 0, "`SPAN` to wait before sending, like 10s or 2h")
	f.StringVar(&o.expires, "expires", "", "`TIME` to give up at, RFC 3339, or a span from now, like 2h")
	f.IntVar(&o.maxAttempts, "max-attempts", 0, "`NUMBER` of attempts before it is dead, 1 to 100 (default the worker's)")
	f.StringVar(&o.id, "id", "", "`ID` of the mail; the broker drops a second one with it for ten minutes (default a UUID)")
	f.StringArrayVar(&o.tags, "tag", nil, "`WORD` for the log; may be given many times")
	f.StringArrayVar(&o.meta, "meta", nil, "`KEY=VALUE` of your own; may be given many times")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
}

// asked is what the options say.
type asked struct {
	lane          wire.Lane
	id            string
	send, expires time.Time
	maxAttempts   int
	tags          []string
	metadata      map[string]string
	sendFlag      string // for errors: --at or --in
}

// read checks what no envelope could say of an option.
func (o *options) read(cmd *cobra.Command, now time.Time) (*asked, error) {
	if err := cli.OneOf(cmd, "at", "in"); err != nil {
		return nil, err
	}
	f := cmd.Flags()
	r := &asked{lane: wire.Lane(o.lane), id: o.id, maxAttempts: o.maxAttempts, tags: o.tags, sendFlag: "--at"}
	if err := r.lane.Validate(); err != nil {
		return nil, cli.Wrongf("--lane: %w", err)
	}
	if f.Changed("max-attempts") && o.maxAttempts == 0 {
		return nil, cli.Wrongf("--max-attempts: 0 is not 1 to 100")
	}
	if f.Changed("in") {
		r.sendFlag = "--in"
	}
	var err error
	if r.send, err = o.sendAt(now); err != nil {
		return nil, err
	}
	if r.expires, err = o.expiresAt(now); err != nil {
		return nil, err
	}
	for _, m := range o.meta {
		k, v, ok := strings.Cut(m, "=")
		if _, twice := r.metadata[k]; !ok || twice {
			return nil, cli.Wrongf("--meta: %q: give key=value, each key once", m)
		}
		if r.metadata == nil {
			r.metadata = make(map[string]string)
		}
		r.metadata[k] = v
	}
	if f.Changed("id") && o.id == "" {
		return nil, cli.Wrongf("--id: it is empty: leave it out")
	}
	if r.id == "" {
		r.id = uuid.NewString()
	}
	return r, nil
}

func (o *options) sendAt(now time.Time) (time.Time, error) {
	switch {
	case o.in < 0:
		return time.Time{}, cli.Wrongf("--in: %s lies in the past", o.in)
	case o.in > 0:
		return now.Add(o.in).UTC(), nil
	case o.at == "":
		return time.Time{}, nil
	}
	return future("--at", o.at, now, "")
}

// expiresAt takes a time or a span.
func (o *options) expiresAt(now time.Time) (time.Time, error) {
	if o.expires == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(o.expires); err == nil {
		if d <= 0 {
			return time.Time{}, cli.Wrongf("--expires: %s lies in the past", o.expires)
		}
		return now.Add(d).UTC(), nil
	}
	return future("--expires", o.expires, now, ", nor a span like 2h")
}

// future reads a time that has not passed.
func future(flag, s string, now time.Time, orElse string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, cli.Wrongf("%s: %q is not a time like 2030-01-02T15:04:05Z%s", flag, s, orElse)
	}
	if t.Before(now) {
		return t, cli.Wrongf("%s: %s has passed", flag, s)
	}
	return t, nil
}

// header is what the options say in the raw form.
func (r *asked) header() map[string][]string {
	h := map[string][]string{schema.HeaderContentType: {schema.TypeMessage}, schema.HeaderMailID: {r.id}}
	if !r.send.IsZero() {
		h[schema.HeaderSendAt] = []string{r.send.Format(time.RFC3339Nano)}
	}
	if !r.expires.IsZero() {
		h[schema.HeaderExpiresAt] = []string{r.expires.Format(time.RFC3339Nano)}
	}
	if r.maxAttempts != 0 {
		h[schema.HeaderMaxAttempts] = []string{strconv.Itoa(r.maxAttempts)}
	}
	if len(r.tags) > 0 {
		h[schema.HeaderTag] = r.tags
	}
	for k, v := range r.metadata {
		h[schema.HeaderMeta+k] = []string{v}
	}
	return h
}
