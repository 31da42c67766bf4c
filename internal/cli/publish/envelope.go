package publish

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
)

// makingFlags are those that a mail is made of. With a file they have no meaning.
var makingFlags = []string{"from", "to", "cc", "bcc", "reply-to", "subject", "text", "html", "attach", "inline", "header"}

// publishEnvelopes publishes files with an envelope as JSON.
func (c *command) publishEnvelopes(cmd *cobra.Command, m *flags, names []string) error {
	for _, name := range makingFlags {
		if cmd.Flags().Changed(name) {
			return cli.Wrongf("--%s: is for a mail that is made of flags, and %q is a file", name, names[0])
		}
	}
	asked, err := m.read(cmd, c.now())
	if err != nil {
		return err
	}
	if m.id != "" && len(names) > 1 {
		return cli.Wrongf("--id: is for one mail, and there are %d files", len(names))
	}
	flagOf := func(field string) string { // the file is checked already
		if flag := asked.flagOf(field); flag != "" && cmd.Flags().Changed(flag[len("--"):]) {
			return flag
		}
		return ""
	}
	s := c.sender(cmd)
	defer s.close()
	read := func(file string) (*schema.Envelope, error) {
		e, err := c.readEnvelope(cmd, file)
		if err != nil {
			return nil, cli.Interrupted(cmd.Context(), err, "nothing was published")
		}
		return e, asked.into(e)
	}
	all := &files{sender: s, cmd: cmd, json: m.json, lane: asked.lane, names: names, read: read, flagOf: flagOf}
	return all.publish(cmd.Context())
}

// readEnvelope reads a file as a worker reads what is published without headers.
func (c *command) readEnvelope(cmd *cobra.Command, file string) (*schema.Envelope, error) {
	b, err := readMessage(cmd.Context(), cmd.InOrStdin(), file)
	if err != nil {
		return nil, err
	}
	e, err := schema.Decode(nil, b)
	if bad, ok := errors.AsType[*schema.EnvelopeError](err); ok && bad.Field == "header "+schema.HeaderContentType {
		return nil, cli.Failf(cli.Data, "is a message and not an envelope in JSON: %s eml publishes it", c.path)
	}
	if err != nil {
		return nil, refused(err, func(string) string { return "" })
	}
	if e.Raw != nil {
		e.Subject = "" // it is the message's own, read for the log
	}
	return e, nil
}

// into adds what the options say to an envelope that comes from a file. Neither wins
// over the other: one of them is a mistake.
func (r *asked) into(e *schema.Envelope) error {
	o := r.envelope()
	for _, x := range []struct {
		flag, field string
		both        bool
	}{
		{"--id", "id", o.ID != "" && e.ID != ""},
		{"--tenant", "tenant", o.Tenant != "" && e.Tenant != ""},
		{r.sendFlag, "send_at", !o.SendAt.IsZero() && !e.SendAt.IsZero()},
		{"--expires", "expires_at", !o.ExpiresAt.IsZero() && !e.ExpiresAt.IsZero()},
		{"--max-attempts", "max_attempts", o.MaxAttempts != 0 && e.MaxAttempts != 0},
		{"--tag", "tags", len(o.Tags) > 0 && len(e.Tags) > 0},
		{"--meta", "metadata", len(o.Metadata) > 0 && len(e.Metadata) > 0},
	} {
		if x.both {
			return cli.Wrongf("%s: the file has its own %s; omit one of them", x.flag, x.field)
		}
	}
	e.ID, e.Tenant = o.ID+e.ID, o.Tenant+e.Tenant
	if e.SendAt.IsZero() {
		e.SendAt = o.SendAt
	}
	if e.ExpiresAt.IsZero() {
		e.ExpiresAt = o.ExpiresAt
	}
	e.MaxAttempts = max(e.MaxAttempts, o.MaxAttempts)
	e.Tags = append(e.Tags, o.Tags...)
	if len(o.Metadata) > 0 {
		e.Metadata = o.Metadata
	}
	return nil
}
