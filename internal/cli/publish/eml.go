package publish

import (
	"context"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

// eml is what the flags of "publish eml" say.
type eml struct {
	options

	from string
	to   []string
}

func (c *command) eml() *cobra.Command {
	m := new(eml)
	cmd := &cobra.Command{
		Use:   "eml FILE...",
		Short: "Publish files with messages (message/rfc822)",
		Long: `Publish files with messages, one message a file; - is standard input. A message
is sent as it is, except that Bcc is taken out and line ends become CRLF.

Sender and recipients come from the message (Sender or From; To, Cc and Bcc),
unless --from and --to name them. A line is printed for each file. The others are
published even if one is bad; the exit status is the highest of all.`,
		Example: c.examples(`  PUBLISH eml mails/*.eml
  PUBLISH eml --from bounces@example.com --to ann@example.net welcome.eml
  generate-invoice | PUBLISH eml --lane bulk --id invoice-17 -`),
		Args: cli.Some("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error { return c.publishMessages(cmd, m, files) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&m.from, "from", "", "`ADDRESS` of the sender in the SMTP envelope; empty is the null path, for mail that wants no bounces")
	f.StringArrayVar(&m.to, "to", nil, "`ADDRESS` of a recipient in the SMTP envelope, or several with commas; may be repeated")
	m.flags(cmd)
	return cmd
}

func (c *command) publishMessages(cmd *cobra.Command, m *eml, names []string) error {
	asked, err := m.read(cmd, c.now())
	if err != nil {
		return err
	}
	if m.id != "" && len(names) > 1 {
		return cli.Wrongf("--id: is for one message, and there are %d files", len(names))
	}
	path, err := m.path(cmd)
	if err != nil {
		return err
	}
	s := c.sender(cmd)
	defer s.close()
	read := func(file string) (*schema.Envelope, error) {
		raw, err := readMessage(cmd.Context(), cmd.InOrStdin(), file)
		if err != nil {
			return nil, cli.Interrupted(cmd.Context(), err, "nothing was published")
		}
		e := asked.envelope()
		e.Envelope, e.Raw = path, raw
		return e, nil
	}
	all := &files{sender: s, cmd: cmd, json: m.json, lane: asked.lane, names: names, read: read, flagOf: asked.flagOf}
	return all.publish(cmd.Context())
}

// path is the SMTP envelope that the flags name; nil for none.
func (m *eml) path(cmd *cobra.Command) (*schema.Path, error) {
	p := new(schema.Path)
	if cmd.Flags().Changed("from") {
		from, err := mail.ParseAddress(strings.TrimSpace(m.from))
		if err != nil {
			return nil, cli.Failf(cli.Data, "--from: %w", err)
		}
		p.MailFrom = &from.Email
	}
	to, err := recipients("--to", m.to)
	if err != nil {
		return nil, err
	}
	for _, a := range to {
		p.RcptTo = append(p.RcptTo, a.Email)
	}
	if p.MailFrom == nil && p.RcptTo == nil {
		return nil, nil
	}
	return p, nil
}

func readMessage(ctx context.Context, stdin io.Reader, file string) ([]byte, error) {
	if file != "-" {
		return readFile(file)
	}
	return readStdin(ctx, stdin, "standard input")
}
