package app

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// text reports whether people read what the worker prints.
func (s *Settings) text(out io.Writer) bool {
	switch s.Process.LogFormat {
	case "text":
		return true
	case "json":
		return false
	}
	if s.development() {
		return true
	}
	return cli.IsTerminal(out)
}

// Logger logs to stderr for people, who read about their mail on stdout, and
// else everything to stdout.
func (p Process) Logger(text bool, stdout, stderr io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: levels[p.LogLevel]}
	if text {
		o.ReplaceAttr = wholeSeconds
		return slog.New(slog.NewTextHandler(stderr, o))
	}
	return slog.New(slog.NewJSONHandler(stdout, o))
}

// stamp is the time of a line in the text form: lines about mail have it too, and both
// are kept by whoever keeps the output.
func stamp(t time.Time) string { return t.Local().Format(time.RFC3339) }

// wholeSeconds leaves out the fractions.
func wholeSeconds(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.String(a.Key, stamp(a.Value.Time()))
	}
	return a
}

// reporter reports what became of each message, as text or JSON.
type reporter struct {
	w   *Worker
	mu  sync.Mutex
	out io.Writer
	// atStop is the tally when the worker was told to stop. onStop's goroutine
	// writes it; Run reads it after that has ended.
	atStop tally
	// text is decided before the development relay has an address.
	text bool
	// color: stdout is a terminal, and NO_COLOR is not set.
	color bool
}

// at are the variables with which a command reaches this worker's broker.
func (r *reporter) at() string {
	var vars []string
	if r.w.embedded != nil {
		if url := r.w.embedded.URL(); url != "nats://127.0.0.1:4222" {
			vars = append(vars, "NATS_URL="+url)
		}
		if dir := r.w.set.Broker.DataDir; filepath.Clean(dir) != "data" {
			vars = append(vars, "POSTRIDER_DATA_DIR="+dir)
		}
	} else {
		vars = append(vars, "NATS_URL="+r.w.conn.URL())
	}
	if len(vars) == 0 {
		return ""
	}
	return strings.Join(vars, " ") + " "
}

// started reports what the worker uses, and how to publish a first message.
func (r *reporter) started() {
	where := "the broker at " + r.w.conn.URL()
	if r.w.embedded != nil {
		where = fmt.Sprintf("an embedded broker at %s, its mail in %s", r.w.embedded.URL(), r.w.set.Broker.DataDir)
	}
	relay := "the relay " + r.w.relay.Name()
	if r.w.dev != nil {
		relay = fmt.Sprintf("the development relay: each mail is kept in %s and sent nowhere", filepath.Join(r.w.set.Broker.DataDir, "sent"))
	}
	lanes, _ := r.w.set.Consumer.Lanes.MarshalText()
	next := r.next()
	if !r.text {
		attrs := []any{"broker", where, "relay", relay, "lanes", string(lanes), "admin", r.w.admin.addr}
		if r.w.rules != nil {
			attrs = append(attrs, "rules", len(r.w.rules.Rules()))
		}
		if next != "" {
			attrs = append(attrs, "publish", next)
		}
		r.w.log.Info("worker started", attrs...)
		return
	}
	fmt.Fprintf(r.out, `Postrider takes mail from %s
  and hands it to %s.
Lanes: %s. Probes and metrics: http://%s
`, where, relay, lanes, r.w.admin.addr)
	if r.w.rules != nil {
		fmt.Fprintf(r.out, "Rules about replies: %d, of %s\n", len(r.w.rules.Rules()), r.w.set.Relays.Path)
	}
	if next != "" {
		fmt.Fprintf(r.out, "Publish a mail, in another terminal:\n\n  %s\n", next)
	}
	fmt.Fprintln(r.out)
}

// next is the command that publishes a first mail. There is none for a worker with a
// credential: that need not be let publish, and it is not ours to tell.
func (r *reporter) next() string {
	if r.w.embedded == nil && r.w.set.Broker.HasCredential() {
		return ""
	}
	return r.at() + cli.Typed("postrider") + ` publish --from you@example.com --to ann@example.net --subject Hello --text "My first mail"`
}

// failure reports whether a recipient is neither delivered nor scheduled for
// its send_at.
func failure(rec *wire.Record) bool {
	return rec.Event != wire.EventDelivered && rec.Event != wire.EventScheduled
}

// settled reports what became of a message in one generation.
func (r *reporter) settled(rec *wire.Record, d *settle.Delivery) {
	if r.w.set.Process.LogMail == "failures" && !failure(rec) || rec.Event == wire.EventRequeued && wire.PutOffAgain(rec.Attempts) {
		return
	}
	if !r.text {
		r.log(rec, d)
		return
	}
	var b strings.Builder
	if len(rec.Recipients) == 0 || rec.Together == wire.StateDead && rec.Error != "" {
		r.undelivered(&b, rec)
		r.print(b.String())
		return
	}
	for _, x := range rec.Recipients {
		r.recipient(&b, rec, x)
	}
	r.print(b.String())
}

// undelivered reports a message that was dead-lettered without asking a relay.
func (r *reporter) undelivered(b *strings.Builder, rec *wire.Record) {
	var to []string
	for _, x := range rec.Recipients {
		to = append(to, x.Address)
	}
	whose := rec.ID
	if len(to) > 0 {
		whose += " to " + queue.Names(to)
	}
	fmt.Fprintf(b, "%s %s, %s: %s\n", r.word("dead", red), whose, rec.Reason, rec.Error)
	r.remedy(b, rec, rec.Reason)
}

func (r *reporter) recipient(b *strings.Builder, rec *wire.Record, x wire.RecipientRecord) {
	switch x.State {
	case wire.StateDelivered:
		if r.w.set.Process.LogMail == "all" {
			fmt.Fprintf(b, "%s %s to %s%s\n", r.word("delivered", green), rec.ID, x.Address, r.kept(x))
		}
	case wire.StateScheduled:
		fmt.Fprintf(b, "%s %s to %s, next attempt at %s%s\n", r.word(string(rec.Waits(x.Index)), yellow), rec.ID, x.Address, queue.Clock(rec.Due), queue.Clause(x.WordsIn(rec)))
	case wire.StateDead:
		fmt.Fprintf(b, "%s %s to %s, %s: %s\n", r.word("dead", red), rec.ID, x.Address, x.Reason, cmp.Or(x.Words(), rec.Error))
		r.remedy(b, rec, x.Reason)
	}
}

const red, green, yellow = "31", "32", "33"

// word follows the time. Its width is fixed, so that the ids form a column.
func (r *reporter) word(s, color string) string {
	s = fmt.Sprintf("%-10s", s)
	if r.color {
		return "\x1b[" + color + "m" + s + "\x1b[0m"
	}
	return s
}

// remedy says what to do about a dead letter.
func (r *reporter) remedy(b *strings.Builder, rec *wire.Record, reason mail.Reason) {
	fmt.Fprintf(b, "           %s\n", queue.Remedy(r.at()+cli.Typed("postrider"), reason, rec.ID))
}

// kept is where the development relay keeps the mail, or the relay's name for it.
func (r *reporter) kept(x wire.RecipientRecord) string {
	if r.w.dev != nil {
		if path, ok := r.w.dev.Path(x.QueueID); ok {
			return ": " + path
		}
	}
	if x.QueueID == "" {
		return ""
	}
	return " as " + x.QueueID
}

// log reports a record to machines, as one line.
func (r *reporter) log(rec *wire.Record, d *settle.Delivery) {
	level := slog.LevelInfo
	if rec.Together == wire.StateDead || rec.Has(wire.StateDead) {
		level = slog.LevelWarn
	}
	attrs := []any{"id", rec.ID, "lane", rec.Lane, "recipient", rec.Recipient, "generation", rec.Generation, "stream_seq", d.Sequence, "delivery", d.Times,
		"attempt", rec.Counted, "queue_ms", rec.At.Sub(rec.Enqueued).Milliseconds(), "recipients", len(rec.Recipients)}
	if n := len(rec.Attempts); n > 0 {
		attrs = append(attrs, attemptAttrs(rec.Attempts[n-1])...)
	}
	if !rec.Due.IsZero() && rec.Has(wire.StateScheduled) {
		attrs = append(attrs, "next_attempt", rec.Due)
	}
	if rec.Reason != "" {
		attrs = append(attrs, "reason", rec.Reason)
	}
	if rec.Error != "" {
		attrs = append(attrs, "error", rec.Error)
	}
	r.w.log.Log(context.Background(), level, string(rec.Event), attrs...)
}

// attemptAttrs describe an attempt. Of several replies they have the one that
// matters most to people; MAIL_EVENT has all.
func attemptAttrs(a wire.Attempt) []any {
	attrs := []any{"relay", a.Relay, "session", a.Session, "use", a.Use, "connect_ms", a.ConnectMS, "data_ms", a.DataMS, "dot_ms", a.DotMS}
	if len(a.Outcomes) == 0 {
		return attrs
	}
	worst, outcome := a.Outcomes[0], string(a.Outcomes[0].Class)
	for _, o := range a.Outcomes[1:] {
		if string(o.Class) != outcome {
			outcome = "mixed"
		}
		if weight[o.Class] > weight[worst.Class] {
			worst = o
		}
	}
	return append(attrs, "outcome", outcome, "stage", worst.Stage, "code", worst.Code, "enhanced", worst.Enhanced, "reply", worst.Reply)
}

// weight is how much an outcome matters to a person.
var weight = map[mail.Class]int{mail.Pending: 1, mail.Requeued: 2, mail.Deferred: 3, mail.Uncertain: 4, mail.Failed: 5}
