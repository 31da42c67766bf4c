package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/wire"
)

var levels = map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}

// text reports that people read what the worker prints.
func (s *settings) text(out io.Writer) bool {
	switch s.worker.LogFormat {
	case "text":
		return true
	case "json":
		return false
	}
	if s.development() {
		return true
	}
	return isTerminal(out)
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// newLogger logs to stderr for people, whose mail stands on stdout, else all
// to stdout.
func newLogger(s *settings, text bool, stdout, stderr io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: levels[s.worker.LogLevel]}
	if text {
		o.ReplaceAttr = shortTime
		return slog.New(slog.NewTextHandler(stderr, o))
	}
	return slog.New(slog.NewJSONHandler(stdout, o))
}

// shortTime leaves the day out, which whoever reads along knows.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey && len(groups) == 0 {
		return slog.String(a.Key, a.Value.Time().Format(time.TimeOnly))
	}
	return a
}

// teller says what became of each mail, in the form that the reader expects.
type teller struct {
	w   *worker
	mu  sync.Mutex
	out io.Writer
	// stopping is how the worker stood when it was told to stop.
	stopping tally
	// text is decided before the development relay has an address.
	text bool
	// colour: a terminal reads it, and NO_COLOR is not set.
	colour bool
}

// at is what a command needs before its name to reach this worker's broker.
func (t *teller) at() string {
	var vars []string
	if t.w.embedded != nil {
		if url := t.w.embedded.URL(); url != "nats://127.0.0.1:4222" {
			vars = append(vars, "NATS_URL="+url)
		}
		if dir := t.w.set.broker.DataDir; filepath.Clean(dir) != "data" {
			vars = append(vars, "POSTRIDER_DATA_DIR="+dir)
		}
	} else {
		vars = append(vars, "NATS_URL="+t.w.conn.URL())
	}
	if len(vars) == 0 {
		return ""
	}
	return strings.Join(vars, " ") + " "
}

func (t *teller) hello() {
	where := "the broker at " + t.w.conn.URL()
	if t.w.embedded != nil {
		where = fmt.Sprintf("an embedded broker at %s, its mail in %s", t.w.embedded.URL(), t.w.set.broker.DataDir)
	}
	relay := "the relay " + t.w.relay.Name()
	if t.w.dev != nil {
		relay = fmt.Sprintf("the development relay: each mail is kept in %s and sent nowhere", filepath.Join(t.w.set.broker.DataDir, "sent"))
	}
	lanes, _ := t.w.set.consumer.Lanes.MarshalText()
	next := t.at() + cli.Typed("publish") + ` --from you@example.com --to ann@example.net --subject Hello --text "My first mail"`
	if !t.text {
		t.w.log.Info("worker started", "broker", where, "relay", relay, "lanes", string(lanes), "admin", t.w.admin.addr, "publish", next)
		return
	}
	fmt.Fprintf(t.out, `Postrider takes mail from %s
  and hands it to %s.
Lanes: %s. Probes and metrics: http://%s
Publish a mail, in another terminal:

  %s

`, where, relay, lanes, t.w.admin.addr, next)
}

// failure reports a record of which something is neither delivered nor waits
// for its own send_at.
func failure(rec *wire.Record) bool {
	return rec.Event != wire.EventDelivered && rec.Event != wire.EventScheduled
}

// settled says what became of a message at this hop.
func (t *teller) settled(rec *wire.Record, d *settle.Delivery) {
	if t.w.set.worker.LogMail == "failures" && !failure(rec) {
		return
	}
	if !t.text {
		t.log(rec, d)
		return
	}
	var b strings.Builder
	if len(rec.Recipients) == 0 {
		fmt.Fprintf(&b, "%s %s: %s\n", t.word(string(rec.Event), red), rec.ID, rec.Error)
		t.replayLine(&b, rec)
	}
	for _, x := range rec.Recipients {
		t.recipient(&b, rec, x)
	}
	t.print(b.String())
}

// moment is a time for people, with its date where that is not today's.
func moment(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format(time.TimeOnly)
	}
	return t.Format(time.DateTime)
}

func (t *teller) recipient(b *strings.Builder, rec *wire.Record, x wire.RecipientRecord) {
	switch x.State {
	case wire.StateDelivered:
		if t.w.set.worker.LogMail == "all" {
			fmt.Fprintf(b, "%s %s to %s%s\n", t.word("delivered", green), rec.ID, x.Address, t.kept(x))
		}
	case wire.StateScheduled:
		said := x.Words()
		if said != "" {
			said = ": " + said
		}
		fmt.Fprintf(b, "%s %s to %s, next attempt at %s%s\n", t.word(string(rec.Waits(x.Index)), yellow), rec.ID, x.Address, moment(rec.Due, rec.At), said)
	case wire.StateDead:
		fmt.Fprintf(b, "%s %s to %s, %s: %s\n", t.word("dead", red), rec.ID, x.Address, x.Reason, x.Words())
		t.replayLine(b, rec)
	}
}

const red, green, yellow = "31", "32", "33"

// word begins a line, so that lines stand below each other.
func (t *teller) word(s, colour string) string {
	s = fmt.Sprintf("%-10s", s)
	if t.colour {
		return "\x1b[" + colour + "m" + s + "\x1b[0m"
	}
	return s
}

func (t *teller) replayLine(b *strings.Builder, rec *wire.Record) {
	id := rec.ID
	if mail.Token(id) != id {
		id = "'" + strings.ReplaceAll(id, "'", `'\''`) + "'" // as a shell takes it
	}
	fmt.Fprintf(b, "           send it again: %s%s dead replay %s\n", t.at(), cli.Typed("mailq"), id)
}

// kept is where the development relay keeps the mail, or the relay's name for it.
func (t *teller) kept(x wire.RecipientRecord) string {
	if t.w.dev != nil {
		if path, ok := t.w.dev.Path(x.QueueID); ok {
			return ": " + path
		}
	}
	if x.QueueID == "" {
		return ""
	}
	return " as " + x.QueueID
}

// log is the same for machines: one line for a record.
func (t *teller) log(rec *wire.Record, d *settle.Delivery) {
	level := slog.LevelInfo
	if rec.Together == wire.StateDead || rec.Has(wire.StateDead) {
		level = slog.LevelWarn
	}
	attrs := []any{"id", rec.ID, "lane", rec.Lane, "line", rec.Recipient, "hop", rec.Generation, "stream_seq", d.Sequence, "delivery", d.Times,
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
	t.w.log.Log(context.Background(), level, string(rec.Event), attrs...)
}

// attemptAttrs are the last attempt. Of several replies the one that matters
// most to a person is shown; the log (mailq events) has them all.
func attemptAttrs(a wire.Attempt) []any {
	attrs := []any{"relay", a.Relay, "session", a.Session, "conn_use", a.Use, "connect_ms", a.ConnectMS, "data_ms", a.DataMS, "dot_ms", a.DotMS}
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
