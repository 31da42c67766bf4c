package stream_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/internal/natstest"
)

// readDirect are the sequences that Direct yields. The odd ones of each hundred messages
// are compared with what Next reads.
func readDirect(t *testing.T, b *natstest.Broker, name, subject string, first, last uint64) (all []uint64) {
	t.Helper()
	s := b.Conn.Store()
	for m, err := range s.Direct(natstest.Within(t), name, subject, first, last) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m.Sequence)
		if m.Sequence%100 > 10 {
			continue
		}
		want, err := s.Next(natstest.Within(t), name, subject, m.Sequence, m.Time)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != want.Subject || string(m.Data) != string(want.Data) || !m.Time.Equal(want.Time) || fmt.Sprint(m.Header) != fmt.Sprint(want.Header) {
			t.Errorf("message %d is\n%+v\nwant\n%+v", m.Sequence, m, want)
		}
	}
	return all
}

// TestDirect: it reads what is there, in batches, whatever producers write into their
// headers, and also from a stream that does not allow it.
func TestDirect(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	mails, subject, large := normal.SendStream(), normal.SendSubject(), make([]byte, 1<<17)
	const many = 700
	for n := range many {
		m := &nats.Msg{Subject: subject, Header: nats.Header{}, Data: fmt.Appendf(nil, "mail %d", n)}
		switch n % 100 {
		case 1:
			m.Header = nats.Header{"Nats-Sequence": {"5", "6"}, "Nats-Num-Pending": {"0"}, "Status": {"204"}, "Nats-Subject": {"elsewhere"}, "X": {"y"}}
		case 2:
			m.Header = nats.Header{"Status": {"404"}}
		case 3:
			m.Data = large
		case 4:
			m.Header, m.Data = nats.Header{"Status": {"503"}}, nil
		}
		if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	var want []uint64
	for n := range uint64(many) {
		if n%7 > 0 {
			want = append(want, n+1)
		} else if err := b.Conn.Store().Delete(natstest.Within(t), mails, n+1); err != nil {
			t.Fatal(err)
		}
	}
	part := func(first, last uint64) []uint64 {
		return slices.DeleteFunc(slices.Clone(want), func(n uint64) bool { return n < first || n > last })
	}
	for _, allowed := range []bool{true, false} {
		c := natstest.ConfigOf(t, b.Conn.JS(), mails)
		c.AllowDirect = allowed
		natstest.Update(t, b.Conn.JS(), c)
		for _, r := range [][2]uint64{{1, many}, {1, 1}, {2, 2}, {300, 400}, {690, 9000}, {701, 9000}, {5, 4}} {
			if got := readDirect(t, b, mails, subject, r[0], r[1]); !slices.Equal(got, part(r[0], r[1])) {
				t.Errorf("allowed %t, %v: %v", allowed, r, got)
			}
		}
		if got := readDirect(t, b, mails, "mail.send.normal.tenant", 1, many); len(got) > 0 {
			t.Errorf("of a subject without messages: %v", got)
		}
	}
	for range b.Conn.Store().Direct(natstest.Within(t), mails, subject, 1, many) {
		break // nothing is left behind
	}
	seen := 0
	for m, err := range b.Conn.Store().Direct(natstest.Within(t), "NOTHING", ">", 1, 9) {
		if seen++; m != nil || err == nil || seen > 1 {
			t.Errorf("of a stream that is not there: %v, %v", m, err)
		}
	}
}
