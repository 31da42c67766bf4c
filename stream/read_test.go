package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestLast(t *testing.T) {
	t.Parallel()
	for name, of := range map[string]func(*stream.Store) *stream.Store{
		"by the API":      func(s *stream.Store) *stream.Store { return s },
		"by a direct get": (*stream.Store).Near,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			last(t, b, of(b.Conn.Store()))
		})
	}
}

// TestLastOfMany: what many read at the same time is read with few requests, and each gets
// its own answer, also where the server cannot say all at once.
func TestLastOfMany(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		large, most int
		direct      bool
	}{
		"small":       {0, 40, true},
		"large":       {1 << 20, 40, true},
		"not allowed": {0, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			const n = 300
			key := func(i int) string {
				return wire.Key{Lane: normal, ID: strconv.Itoa(i), Origin: "1-1", Recipient: "3"}.RecordSubject()
			}
			for i := range n {
				m := &nats.Msg{Subject: key(i), Data: fmt.Append(nil, i)}
				if i%20 == 0 {
					m.Data = append(m.Data, make([]byte, x.large)...)
				}
				if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), m); i%3 > 0 && err != nil {
					t.Fatal(err)
				}
			}
			for i := 0; i < n; i += 3 {
				if err := b.Conn.Store().Delete(natstest.Within(t), wire.StreamRecord, uint64(i+1)); err != nil {
					t.Fatal(err)
				}
			}
			c := natstest.ConfigOf(t, b.Conn.JS(), wire.StreamRecord)
			c.AllowDirect = x.direct
			natstest.Update(t, b.Conn.JS(), c)
			var asked atomic.Int64
			if x.direct { // else who listens is a responder, and the server does not say that there is none
				tap, err := b.Conn.NC().Subscribe("$JS.API.*.GET.>", func(*nats.Msg) { asked.Add(1) })
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = tap.Unsubscribe() }()
			}
			s := b.Conn.Store().Near()
			var all sync.WaitGroup
			begin := make(chan bool)
			for i := range n {
				all.Go(func() {
					<-begin
					m, err := s.Last(natstest.Within(t), wire.StreamRecord, key(i))
					switch {
					case i%3 == 0:
						if !errors.Is(err, stream.ErrNotFound) {
							t.Errorf("key %d: %v, %v; want ErrNotFound", i, m, err)
						}
					case err != nil, m.Sequence != uint64(i+1), m.Subject != key(i), !bytes.HasPrefix(m.Data, fmt.Append(nil, i)):
						t.Errorf("key %d: %+v, %v", i, m, err)
					}
				})
			}
			close(begin)
			all.Wait()
			if got := int(asked.Load()); got > x.most || x.direct && got == 0 {
				t.Errorf("%d requests", got)
			}
		})
	}
}

// TestLastLooksLikeAStatus: what a message has in its headers is no answer of the server.
func TestLastLooksLikeAStatus(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), &nats.Msg{Subject: normal.SendSubject(), Header: nats.Header{"Status": {"404"}}}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*stream.Store{b.Conn.Store(), b.Conn.Store().Near()} {
		if m, err := s.Last(natstest.Within(t), normal.SendStream(), normal.SendSubject()); err != nil || m.Sequence != 1 {
			t.Errorf("%+v, %v", m, err)
		}
	}
}

// cut loses the first connection that is said that word.
type cut struct {
	word []byte
	done atomic.Bool
}

func (d *cut) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return &cutConn{c, d}, err
}

type cutConn struct {
	net.Conn

	by *cut
}

func (c *cutConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if bytes.Contains(b[:n], c.by.word) && c.by.done.CompareAndSwap(false, true) {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

// TestLastAfterAReconnect: those who read after the connection was lost do not wait for an
// answer that was lost with it.
func TestLastAfterAReconnect(t *testing.T) {
	t.Parallel()
	d := &cut{word: []byte("Nats-UpTo-Sequence")}
	nc, err := nats.Connect(natstest.StartServer(t, func(*server.Options) {}), nats.SetCustomDialer(d), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(natstest.Within(t), jetstream.StreamConfig{Name: "R", Subjects: []string{"r.*"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(natstest.Within(t), "r.0", nil); err != nil {
		t.Fatal(err)
	}
	s := stream.New(nc).Near()
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() { _, _ = s.Last(natstest.Within(t), "R", fmt.Sprint("r.", i)) })
	}
	testrun.Eventually(t, "an answer is lost, and the connection is back", 10*time.Second, func() bool { return d.done.Load() && nc.IsConnected() })
	began := time.Now()
	testrun.Eventually(t, "it is read again", 10*time.Second, func() bool {
		m, err := s.Last(natstest.Within(t), "R", "r.0")
		return err == nil && m.Sequence == 1
	})
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it was read again after %v", took)
	}
	all.Wait()
}

func last(t *testing.T, b *natstest.Broker, s *stream.Store) {
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: "3"}
	if _, err := s.Last(natstest.Within(t), wire.StreamRecord, key.RecordSubject()); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("Last of nothing = %v, want ErrNotFound", err)
	}
	if _, err := s.Last(natstest.Within(t), "NOTHING", "x"); err == nil || errors.Is(err, stream.ErrNotFound) {
		t.Errorf("Last of a stream that is not there = %v", err)
	}
	if _, err := s.Last(natstest.Within(t), normal.SendStream(), normal.SendSubject()); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("Last of nothing in a work queue = %v", err)
	}
	body := bytes.Repeat([]byte{0, 0xff, '\n'}, 1<<20)
	for _, m := range []*nats.Msg{
		{Subject: key.RecordSubject(), Data: []byte("first")},
		{Subject: key.RecordSubject(), Header: nats.Header{wire.HeaderGeneration: {"2"}, "Mail-To": {"a@b", "c@d"}}, Data: body},
	} {
		if _, err := b.Conn.JS().PublishMsg(natstest.Within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, subject := range []string{key.RecordSubject(), key.RecordFilter()} {
		m, err := s.Last(natstest.Within(t), wire.StreamRecord, subject)
		if err != nil {
			t.Fatal(err)
		}
		if m.Sequence != 2 || m.Subject != key.RecordSubject() || !bytes.Equal(m.Data, body) || m.Header.Get(wire.HeaderGeneration) != "2" ||
			len(m.Header.Values("Mail-To")) != 2 || time.Since(m.Time).Abs() > time.Minute {
			t.Errorf("Last(%s) = %d on %s at %v with %v", subject, m.Sequence, m.Subject, m.Time, m.Header)
		}
	}
}
