package publish

import (
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/wire"
)

// options say how to send, for mail in either form.
type options struct {
	lane, tenant, at, expires, id string
	in                            env.Duration
	maxAttempts                   int
	tags, meta                    []string
	json                          bool
}

func (o *options) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.lane, "lane", "normal", "`LANE` to publish to")
	f.StringVar(&o.tenant, "tenant", "", "`TENANT` that the mail belongs to; only on a broker of your own that lets this user publish to its subject")
	f.StringVar(&o.at, "at", "", "`TIME` to send at, RFC 3339, like 2030-01-02T15:04:05Z")
	f.Var(&o.in, "in", "`DURATION` to wait before sending, like 10s, 2h or 3d")
	f.StringVar(&o.expires, "expires", "", "`TIME` to give up at, RFC 3339, or a duration from now, like 2h or 3d")
	f.IntVar(&o.maxAttempts, "max-attempts", 0, "`NUMBER` of attempts, 1 to 100 (default the worker's)")
	f.StringVar(&o.id, "id", "", "`ID` of the mail; for ten minutes the broker drops another mail of the lane with the same ID (default a UUID)")
	f.StringArrayVar(&o.tags, "tag", nil, "`WORD` for the log; may be repeated")
	f.StringArrayVar(&o.meta, "meta", nil, "`KEY=VALUE` of your own; may be repeated")
	f.BoolVar(&o.json, "json", false, "print a JSON object")
}

// asked is what the options say.
type asked struct {
	lane          wire.Lane
	tenant, id    string
	send, expires time.Time
	maxAttempts   int
	tags          []string
	metadata      map[string]string
	sendFlag      string // for errors: --at or --in
}

// read checks the rules of an option that are not those of the envelope.
func (o *options) read(cmd *cobra.Command, now time.Time) (*asked, error) {
	if err := cli.OneOf(cmd, "at", "in"); err != nil {
		return nil, err
	}
	f := cmd.Flags()
	r := &asked{lane: wire.Lane(o.lane), tenant: o.tenant, id: o.id, maxAttempts: o.maxAttempts, tags: o.tags, sendFlag: "--at"}
	if err := r.lane.Validate(); err != nil {
		return nil, cli.Wrongf("--lane: %w", err)
	}
	if f.Changed("max-attempts") && o.maxAttempts == 0 {
		return nil, cli.Wrongf("--max-attempts: 0 is not 1 to 100")
	}
	for _, name := range []string{"id", "tenant"} {
		if flag := f.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return nil, cli.Wrongf("--%s: must not be empty; omit it", name)
		}
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
	r.metadata, err = o.metadata()
	return r, err
}

func (o *options) metadata() (map[string]string, error) {
	if len(o.meta) == 0 {
		return nil, nil
	}
	all := make(map[string]string)
	for _, m := range o.meta {
		k, v, ok := strings.Cut(m, "=")
		if _, twice := all[k]; !ok || twice {
			return nil, cli.Wrongf("--meta: %q: must be KEY=VALUE, each key once", m)
		}
		all[k] = v
	}
	return all, nil
}

func (o *options) sendAt(now time.Time) (time.Time, error) {
	in := time.Duration(o.in)
	switch {
	case in < 0:
		return time.Time{}, cli.Wrongf("--in: %s is in the past", in)
	case in > 0:
		return now.Add(in).UTC(), nil
	case o.at == "":
		return time.Time{}, nil
	}
	return future("--at", o.at, now, "")
}

// expiresAt takes a time or a duration.
func (o *options) expiresAt(now time.Time) (time.Time, error) {
	if o.expires == "" {
		return time.Time{}, nil
	}
	if d, err := env.ParseDuration(o.expires); err == nil {
		if d <= 0 {
			return time.Time{}, cli.Wrongf("--expires: %s is in the past", o.expires)
		}
		return now.Add(d).UTC(), nil
	}
	return future("--expires", o.expires, now, ", nor a duration like 2h or 3d")
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

// envelope has what the options say, and nothing of the mail itself.
func (r *asked) envelope() *schema.Envelope {
	return &schema.Envelope{
		ID: r.id, Tenant: r.tenant, SendAt: r.send, ExpiresAt: r.expires, MaxAttempts: r.maxAttempts, Tags: r.tags, Metadata: r.metadata,
	}
}
