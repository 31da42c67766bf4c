package publish

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/mail"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
)

// flags is what the flags say.
type flags struct {
	options
	from, subject, text, html string
	to, cc, bcc, replyTo      []string
	attach, inline, headers   []string
	// files are the flags that attachments come from, for errors.
	files []string
}

func (c *command) mail() *cobra.Command {
	m := new(flags)
	cmd := &cobra.Command{
		Use:   "publish {--from ADDRESS --to ADDRESS | FILE...} [flags]",
		Short: "Put a mail into the queue",
		Long: c.examples(`Put a mail into the queue. It returns once the broker has stored the mail;
workers send it. What a worker would refuse is refused before it is published.

The mail is made of flags, or it is an envelope in JSON (SCHEMA describes it)
in each FILE; - is standard input. Flags that say how to send, like --in and --tag, add
what a FILE does not say; one that says what the FILE says too is an error. A line is
printed for each FILE. The others are published even if one is bad; the exit status is
the highest of all. Messages as mail programs write them are for publish eml.

Without --text and --html the text comes from standard input, if that is a file
or a pipe. Settings such as NATS_URL come from the environment; without them the
mail goes to the worker on this machine.`),
		Example: c.examples(`  PUBLISH --from you@example.com --to "Ann <ann@example.net>" --subject Hello --text "Hi Ann"
  df -h | PUBLISH --from root@example.com --to ops@example.com --subject "Disks of $(hostname)"
  PUBLISH --from shop@example.com --to ann@example.net --subject "Your ticket" \
      --html '<img src="cid:logo.png"> Thank you' --text "Thank you" --inline logo.png --attach ticket.pdf
  PUBLISH --from you@example.com --to ann@example.net --text "Good morning" --in 8h --tag greetings
  PUBLISH envelope.json
  make-invoice | PUBLISH --lane bulk --tag invoices -
  PUBLISH eml mails/*.eml`),
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, files []string) error {
			if len(files) > 0 {
				return c.publishEnvelopes(cmd, m, files)
			}
			return c.publishMail(cmd, m)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&m.from, "from", "", "`ADDRESS` of the sender, \"a@b\" or \"Name <a@b>\"")
	f.StringArrayVar(&m.to, "to", nil, "`ADDRESS` of a recipient, or several with commas; may be repeated, as --cc, --bcc and --reply-to may")
	f.StringArrayVar(&m.cc, "cc", nil, "`ADDRESS` that gets a copy")
	f.StringArrayVar(&m.bcc, "bcc", nil, "`ADDRESS` that gets a copy and is in no header")
	f.StringArrayVar(&m.replyTo, "reply-to", nil, "`ADDRESS` for replies")
	f.StringVar(&m.subject, "subject", "", "`TEXT` of the subject")
	f.StringVar(&m.text, "text", "", "`TEXT`, or - for standard input")
	f.StringVar(&m.html, "html", "", "`HTML`, or - for standard input; give --text too, for readers without HTML")
	f.StringArrayVar(&m.attach, "attach", nil, "`FILE` to attach; may be repeated")
	f.StringArrayVar(&m.inline, "inline", nil, "`[ID=]FILE` that the HTML shows as cid:ID; without ID the file's name is the ID")
	f.StringArrayVar(&m.headers, "header", nil, "`"+`"Name: value"`+"` of a further header field; may be repeated")
	m.flags(cmd)
	return cmd
}

func (c *command) publishMail(cmd *cobra.Command, m *flags) error {
	switch {
	case !cmd.Flags().Changed("from"):
		return cli.Wrongf("--from is missing")
	case len(m.to)+len(m.cc)+len(m.bcc) == 0:
		return cli.Wrongf("--to is missing (or --cc or --bcc)")
	}
	asked, err := m.read(cmd, c.now())
	if err != nil {
		return err
	}
	e, err := m.envelope(cmd, asked)
	if err != nil {
		return cli.Interrupted(cmd.Context(), err, "nothing was published")
	}
	s := c.sender(cmd)
	defer s.close()
	r, err := s.send(cmd.Context(), asked.lane, e, func(field string) string { return m.flagOf(field, asked) })
	if err != nil {
		return err
	}
	return result{Receipt: r}.write(cmd, m.json)
}

// envelope is what the flags say, not checked yet.
func (m *flags) envelope(cmd *cobra.Command, r *asked) (*schema.Envelope, error) {
	e := r.envelope()
	e.Subject = m.subject
	var err error
	if e.From, err = mail.ParseAddress(strings.TrimSpace(m.from)); err != nil {
		return nil, cli.Failf(cli.Data, "--from: %w", err)
	}
	for _, l := range []struct {
		flag string
		in   []string
		out  *[]mail.Address
	}{{"--to", m.to, &e.To}, {"--cc", m.cc, &e.Cc}, {"--bcc", m.bcc, &e.Bcc}, {"--reply-to", m.replyTo, &e.ReplyTo}} {
		if *l.out, err = recipients(l.flag, l.in); err != nil {
			return nil, err
		}
	}
	if err := m.texts(cmd, e); err != nil {
		return nil, err
	}
	if err := m.fields(e); err != nil {
		return nil, err
	}
	return e, m.attachments(e)
}

// texts are those of the flags; one of them may come from standard input.
func (m *flags) texts(cmd *cobra.Command, e *schema.Envelope) error {
	stdin := cmd.InOrStdin()
	text, html := cmd.Flags().Changed("text"), cmd.Flags().Changed("html")
	switch {
	case m.text == "-" && m.html == "-":
		return cli.Wrongf("--text, --html: only one of them can come from standard input")
	case !text && !html && !piped(stdin):
		return cli.Wrongf("no text: give --text or --html, or pipe the text in")
	}
	if text || !html {
		e.Text = &m.text
	}
	if html {
		e.HTML = &m.html
	}
	for _, s := range []*string{e.Text, e.HTML} {
		if s != nil && (*s == "-" || !text && !html) {
			b, err := readStdin(cmd.Context(), stdin, "the text on standard input")
			if err != nil {
				return err
			}
			if !utf8.Valid(b) {
				return cli.Failf(cli.Data, "the text on standard input is not UTF-8")
			}
			*s = string(b)
		}
	}
	return nil
}

// readStdin reads all of standard input; what names it in errors.
func readStdin(ctx context.Context, stdin io.Reader, what string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(cli.Interruptible(ctx, stdin), most+1))
	switch {
	case errors.Is(err, cli.ErrInterrupted):
		return nil, err
	case err != nil:
		return nil, cli.Failf(cli.NoInput, "read %s: %w", what, err)
	case len(b) > most:
		return nil, cli.Failf(cli.Data, "%s is larger than %d bytes, which is more than any broker takes", what, most)
	}
	return b, nil
}

// piped reports that standard input is neither a terminal nor the null device.
func piped(stdin io.Reader) bool {
	f, ok := stdin.(*os.File)
	if !ok {
		return true
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice == 0
}

func (m *flags) fields(e *schema.Envelope) error {
	for _, h := range m.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return cli.Wrongf("--header: %q is not \"Name: value\"", h)
		}
		if _, twice := e.Headers[name]; twice {
			return cli.Wrongf("--header: %s is given twice", name)
		}
		if e.Headers == nil {
			e.Headers = make(map[string]schema.Values)
		}
		e.Headers[name] = schema.Values{strings.TrimSpace(value)}
	}
	return nil
}

func (m *flags) attachments(e *schema.Envelope) error {
	if len(m.inline) > 0 && e.HTML == nil {
		return cli.Wrongf("--inline: is for what the HTML shows, and there is no --html")
	}
	for _, file := range m.attach {
		if err := m.add(e, "--attach", file, ""); err != nil {
			return err
		}
	}
	for _, s := range m.inline {
		id, file, ok := strings.Cut(s, "=")
		if !ok || strings.Contains(id, "/") { // then the "=" is part of the file's name
			id, file = filepath.Base(s), s
		}
		if err := m.add(e, "--inline", file, id); err != nil {
			return err
		}
	}
	return nil
}

func (m *flags) add(e *schema.Envelope, flag, file, id string) error {
	b, err := readFile(file)
	if err != nil {
		return cli.Failf(cli.Status(err), "%s: %w", flag, err)
	}
	m.files = append(m.files, flag+" "+file)
	e.Attachments = append(e.Attachments, schema.Attachment{Filename: filepath.Base(file), Content: b, ContentID: id})
	return nil
}

// most is a size in bytes that no broker takes.
const most = 64 << 20

func readFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, cli.Failf(cli.NoInput, "%w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	switch {
	case err != nil:
		return nil, cli.Failf(cli.NoInput, "%w", err)
	case len(b) > most:
		return nil, cli.Failf(cli.Data, "%s is larger than %d bytes, which is more than any broker takes", file, most)
	}
	return b, nil
}
