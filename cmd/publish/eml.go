package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/schema"
)

// eml is what the flags of "publish eml" say.
type eml struct {
	options
	from string
	to   []string
}

func (a *app) eml() *cobra.Command {
	m := new(eml)
	cmd := &cobra.Command{
		Use:   "eml FILE...",
		Short: "Publish files that hold whole mails (message/rfc822)",
		Long: `Publish files that hold whole mails, one each; - is standard input. A mail is
sent as it is, but for Bcc, which is taken out, and line ends, which become CRLF.

Sender and recipients come from the mail (Sender or From; To, Cc and Bcc), unless
--from and --to name them. A line is printed for each file. A bad one does not
keep the others from being published; the exit status is the highest of all.`,
		Example: `  publish eml mails/*.eml
  publish eml --from bounces@example.com --to ann@example.net letter.eml
  generate-invoice | publish eml --lane bulk --id invoice-17 -`,
		Args: cli.Some("FILE"),
		RunE: func(cmd *cobra.Command, files []string) error { return a.publishFiles(cmd, m, files) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&m.from, "from", "", "`ADDRESS` of the sender in the SMTP envelope; empty: the null path, for mails that want no bounces")
	f.StringArrayVar(&m.to, "to", nil, "`ADDRESS` of a recipient in the SMTP envelope; may be given many times")
	m.flags(cmd)
	return cmd
}

func (a *app) publishFiles(cmd *cobra.Command, m *eml, files []string) error {
	asked, err := m.read(cmd, a.now())
	if err != nil {
		return err
	}
	if m.id != "" && len(files) > 1 {
		return cli.Wrongf("--id: it is for one mail, and there are %d files", len(files))
	}
	header := asked.header()
	if cmd.Flags().Changed("from") {
		header[schema.HeaderMailFrom] = []string{m.from}
	}
	if len(m.to) > 0 {
		header[schema.HeaderMailTo] = m.to
	}
	if err := carried(header, asked); err != nil {
		return err
	}
	p := &postman{app: a, eml: m, asked: asked, header: header}
	defer p.close()
	worst := cli.OK
	for _, file := range files {
		if err := p.file(cmd.Context(), file); err != nil {
			_, _ = fmt.Fprintf(a.stderr, "publish: %s: %v\n", file, err)
			worst = max(worst, cli.Status(err))
		}
		if len(files) > 1 {
			asked.id = uuid.NewString()
		}
	}
	if worst == cli.OK {
		return nil
	}
	return cli.Failf(worst, "") // it has been said, file by file
}

// carried refuses what a NATS header would not bring over as it is.
func carried(header map[string][]string, r *asked) error {
	for name, values := range header {
		for _, v := range values {
			if !token.MatchString(name) || strings.TrimSpace(v) != v || strings.ContainsAny(v, "\r\n") {
				return cli.Failf(cli.Data, "%s: %q: of a whole mail it goes in a header: a key is letters, digits, - and _, a value one line without spaces at its ends",
					flagOfHeader("header "+name, r), v)
			}
		}
	}
	return nil
}

var token = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// postman publishes files through one connection, which it opens when it is
// first needed.
type postman struct {
	*app
	eml    *eml
	asked  *asked
	header map[string][]string
	conn   *broker.Conn
	away   error
}

func (p *postman) file(ctx context.Context, file string) error {
	body, err := p.read(file)
	if err != nil {
		return err
	}
	header := maps.Clone(p.header)
	header[schema.HeaderMailID] = []string{p.asked.id}
	if err := p.check(header, body, func(field string) string { return flagOfHeader(field, p.asked) }); err != nil {
		return err
	}
	if p.away != nil {
		return cli.Failf(cli.Status(p.away), "not published either")
	}
	if p.conn == nil {
		if p.conn, p.away = p.connect(ctx); p.away != nil {
			return p.away
		}
	}
	ack, err := p.publish(ctx, p.conn, p.asked, header, body)
	if err != nil {
		return err
	}
	return p.print(p.eml.json, result{ID: p.asked.id, Lane: p.eml.lane, Sequence: ack.Sequence, Duplicate: ack.Duplicate, File: file})
}

func (p *postman) read(file string) ([]byte, error) {
	if file != "-" {
		return readFile(file)
	}
	b, err := io.ReadAll(io.LimitReader(p.stdin, most+1))
	switch {
	case err != nil:
		return nil, cli.Failf(cli.NoInput, "read standard input: %w", err)
	case len(b) > most:
		return nil, cli.Failf(cli.Data, "larger than %d bytes, which is more than any broker takes", most)
	}
	return b, nil
}

func (p *postman) close() {
	if p.conn != nil {
		p.conn.Close()
	}
}
