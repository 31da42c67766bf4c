package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/postrider/postrider/deadletter"
	"github.com/postrider/postrider/queue"
)

// deadTable is the dead letters for a person at a terminal: by their reply, or one
// line each.
type deadTable struct {
	each   bool
	groups queue.DeadGroups
	rows   []deadRow
	count  uint64
}

type deadRow struct{ id, to, reason, died, reply string }

// add keeps what is shown: a dead letter has its whole mail.
func (t *deadTable) add(l *deadletter.Found) {
	if t.count++; !t.each {
		t.groups.Add(l)
		return
	}
	to := cmp.Or(queue.Names(queue.AddressesOf(l)), "-")
	t.rows = append(t.rows, deadRow{l.Key.ID, to, string(l.Reason), queue.Clock(l.At), l.Error})
}

func (t *deadTable) write(out io.Writer, p paint, width int) error {
	var b strings.Builder
	if t.each {
		writeDeadRows(&b, p, t.rows, width)
	} else {
		groups := t.groups.Sorted()
		writeDeadGroups(&b, p, groups, width)
		fmt.Fprintf(&b, "\n%s, %s; --all lists each, postrider dead show ID shows all of one\n",
			queue.Counted(t.count, "dead letter"), kinds(len(groups)))
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func kinds(n int) string {
	if n == 1 {
		return "1 reply"
	}
	return fmt.Sprintf("%d replies", n)
}

// least is what a column needs to say anything.
const least = 8

// writeDeadRows gives the id and the recipients what they need, if enough is left of
// the line for the reply.
func writeDeadRows(b *strings.Builder, p paint, rows []deadRow, width int) {
	id, to, reason, died := len("id"), len("to"), len("reason"), len("died")
	for _, r := range rows {
		id, to = max(id, utf8.RuneCountInString(r.id)), max(to, utf8.RuneCountInString(r.to))
		reason, died = max(reason, len(r.reason)), max(died, len(r.died))
	}
	left := width - reason - died - 4*len("  ")
	id = max(least, min(id, left/3))
	to = max(least, min(to, (left-id)/2))
	reply := max(least, left-id-to)
	line := func(r deadRow) string {
		return fmt.Sprintf("%s  %s  %s  %s  %s", fit(r.id, id), fit(r.to, to), fit(r.reason, reason), fit(r.died, died), cut(r.reply, reply))
	}
	b.WriteString(p.bold(line(deadRow{"id", "to", "reason", "died", "reply"})) + "\n")
	for _, r := range rows {
		b.WriteString(line(r) + "\n")
	}
}

func writeDeadGroups(b *strings.Builder, p paint, groups []*queue.DeadGroup, width int) {
	count, reason, last := len("count"), len("reason"), len("last")
	for _, g := range groups {
		count, reason = max(count, len(queue.Thousands(uint64(g.Count)))), max(reason, len(g.Reason))
		last = max(last, len(queue.Clock(g.Last)))
	}
	reply := max(least, width-count-reason-last-3*len("  "))
	line := func(n, why, at, said string) string {
		return fmt.Sprintf("%*s  %s  %s  %s", count, n, fit(why, reason), fit(at, last), cut(said, reply))
	}
	b.WriteString(p.bold(line("count", "reason", "last", "reply")) + "\n")
	indent := strings.Repeat(" ", count+2)
	for _, g := range groups {
		b.WriteString(line(queue.Thousands(uint64(g.Count)), string(g.Reason), queue.Clock(g.Last), g.Reply) + "\n")
		b.WriteString(indent + p.dim(someIDs(g, width-len(indent))) + "\n")
	}
}

// someIDs are as many as fit into the width, and how many there are beside. One that
// does not fit alone is cut.
func someIDs(g *queue.DeadGroup, width int) string {
	const room = len(" and 999,999 more")
	said, shown := "", 0
	for _, id := range g.IDs {
		next := strings.TrimPrefix(said+", "+id, ", ")
		if utf8.RuneCountInString(next)+room > width && shown > 0 {
			break
		}
		said = next
		shown++
	}
	more := g.Count - shown
	if more <= 0 {
		return cut(said, width)
	}
	return fmt.Sprintf("%s and %s more", cut(said, max(least, width-room)), queue.Thousands(uint64(more)))
}

// cut shortens a text to so many characters.
func cut(s string, width int) string {
	if utf8.RuneCountInString(s) <= width {
		return s
	}
	return string([]rune(s)[:max(width-1, 0)]) + "…"
}

// fit is cut, and padded.
func fit(s string, width int) string { return fmt.Sprintf("%-*s", width, cut(s, width)) }
