package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
)

// writeTrace writes the envelope in short, what happened, and the state of each
// recipient.
func writeTrace(out io.Writer, p paint, t *queue.Trace, now time.Time) error {
	var b strings.Builder
	_, seq, _ := strings.Cut(t.Origin, "-")
	var to, bcc []string
	for _, f := range t.Recipients {
		if f.Bcc {
			bcc = append(bcc, f.Address)
		} else {
			to = append(to, f.Address)
		}
	}
	p.field(&b, "message", p.bold(t.ID))
	p.field(&b, "queued", fmt.Sprintf("%s as %s/%s, origin %s", queue.Distant(now, t.Enqueued), t.Lane, seq, t.Origin))
	from := cmp.Or(t.From, "<>")
	if len(t.Recipients) == 0 {
		from = "-" // its envelope cannot be read: "<>" is a sender too
	}
	p.field(&b, "from", from)
	p.field(&b, "to", queue.Names(to))
	p.field(&b, "bcc", queue.Names(bcc))
	p.field(&b, "subject", t.Subject)
	p.field(&b, "size", queue.Counted(uint64(t.Size), "byte"))
	p.field(&b, "tags", strings.Join(t.Tags, ", "))
	if history := t.History(); len(history) > 0 {
		b.WriteString(p.bold("History") + "\n")
		for _, e := range history {
			p.entry(&b, e, t.Address)
		}
	}
	b.WriteString(p.bold("Now") + "\n")
	for _, g := range t.Fates() {
		fmt.Fprintf(&b, "  %s\n      %s\n", queue.Names(g.Addresses), p.state(g.Is))
	}
	if t.Next != "" {
		fmt.Fprintf(&b, "  %s\n", p.state(t.Next))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// field writes a line with a value and its name; nothing for an empty value.
func (p paint) field(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "%s %s\n", p.dim(fmt.Sprintf("%-8s", name)), value)
	}
}

// state colours what a sentence begins with.
func (p paint) state(s string) string {
	switch {
	case strings.HasPrefix(s, "delivered"):
		return p.green(s)
	case strings.HasPrefix(s, "dead"):
		return p.red(s)
	}
	return p.yellow(s)
}

// entry writes an entry of the history and, if it is an attempt, the outcome of each
// recipient.
func (p paint) entry(b *strings.Builder, e queue.Entry, address func(int) string) {
	said := e.Words()
	if said == "" {
		return
	}
	fmt.Fprintf(b, "  %s  %s\n", p.dim(queue.Clock(e.At())), said)
	if e.Attempt == nil {
		return
	}
	for _, o := range e.Attempt.Outcomes {
		to := make([]string, len(o.Recipients))
		for i, x := range o.Recipients {
			to[i] = address(x)
		}
		rest := strings.TrimPrefix(queue.OutcomeWords(o), string(o.Class))
		fmt.Fprintf(b, "      %s  %s%s\n", queue.Names(to), p.class(o.Class), rest)
	}
}

func (p paint) class(c mail.Class) string {
	switch c {
	case mail.Delivered:
		return p.green(string(c))
	case mail.Failed, mail.Uncertain:
		return p.red(string(c))
	}
	return p.yellow(string(c))
}
