package storm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// filler publishes large mail once each and hears what the broker says.
type filler struct {
	t  *testing.T
	nc *nats.Conn
}

func (s *storm) filler(t *testing.T) *filler {
	t.Helper()
	nc, err := nats.Connect("nats://"+s.get("NATS_LISTEN"), nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return &filler{t, nc}
}

// publish returns nil if the mail was acknowledged.
func (f *filler) publish(m Mail, size int) error {
	f.t.Helper()
	body, err := json.Marshal(map[string]any{
		"id": m.ID, "from": "app@example.com", "to": m.To, "text": strings.Repeat("a line of text that fills the store\n", size/36),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	r, err := f.nc.Request("mail.send.normal", body, 3*time.Second)
	if err != nil {
		return err
	}
	var ack struct {
		Stream string `json:"stream"`
		Error  *struct {
			Code int    `json:"err_code"`
			Text string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(r.Data, &ack); err != nil {
		return err
	}
	if ack.Error != nil {
		return fmt.Errorf("%d: %s", ack.Error.Code, ack.Error.Text)
	}
	if ack.Stream == "" {
		return errors.New("no stream has taken it")
	}
	return nil
}

// fillLane publishes until the lane is full, and gives the ids of what was refused.
func fillLane(t *testing.T, f *filler, p *Producer, size int) map[string]bool {
	t.Helper()
	refused := map[string]bool{}
	for n := 0; len(refused) < 3 && n < 2000; n++ {
		m := OneMail(n)
		err := f.publish(m, size)
		if err != nil {
			if !strings.Contains(err.Error(), "10077") && !strings.Contains(err.Error(), "10023") {
				t.Fatalf("a producer hears %q", err)
			}
			refused[m.ID] = true
			continue
		}
		p.acked = append(p.acked, m)
	}
	return refused
}

// isDue is the mail of that number, deferred once.
func isDue(n int) Mail {
	return Mail{ID: fmt.Sprintf("due%d", n), To: []string{fmt.Sprintf("451x1@due%d.example", n)}}
}

// TestStoreFull fills the lane with the relay away: producers hear it, and
// nobody falsely that the mail was taken. When the relay is back the due mail
// goes out at full speed, the fresh beside it one at a time, and in the end
// everything by itself.
func TestStoreFull(t *testing.T) {
	testrun.Beside(t)
	const size, due = 100 << 10, 120
	room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	s := begin(t, Config{Env: []string{"POSTRIDER_LANES=normal=1", "POSTRIDER_RETRY_AFTER=12s", "POSTRIDER_DATA_DIR=" + filepath.Join(room, "data")}})
	p, f := &Producer{}, s.filler(t)
	for n := range due {
		if err := f.publish(isDue(n), size); err != nil {
			t.Fatal(err)
		}
		p.acked = append(p.acked, isDue(n))
	}
	testrun.Eventually(t, "all are deferred", time.Minute, func() bool { return metric(t, s.broker, "postrider_settled_total") >= due })
	if err := s.relay.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	refused := fillLane(t, f, p, size)
	if len(refused) == 0 {
		t.Fatal("the store does not get full")
	}
	if _, err := Await(s.broker.Err, `mail is fetched one at a time`, ready); err != nil {
		t.Fatal(err)
	}
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	testrun.Eventually(t, "all deferred mail is due", time.Minute, func() bool { return dueNow(t, c) == due })
	narrow := untilRoom(t, c, size)
	s.RelayArgs = []string{"-accept"} // a new process does not know whom it has refused
	if err := s.startRelay(); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
	entries, err := ReadLines[Entry](filepath.Join(s.Dir, "book"))
	if err != nil {
		t.Fatal(err)
	}
	sent, beside := 0, 0
	for i, e := range entries {
		switch id := IDOf(e.ID); {
		case refused[id]:
			t.Errorf("%s was refused and sent", id)
		case i >= narrow: // the worker may have found that there is room again
		case strings.HasPrefix(id, "due"):
			sent++
		default:
			beside++
		}
	}
	t.Logf("acknowledged=%d refused=%d fresh_beside_due=%d of the first %d", len(p.acked), len(refused), beside, narrow)
	if sent < due/4 || beside > sent/2 {
		t.Errorf("%d fresh mails went beside %d due ones", beside, sent)
	}
	if err := f.publish(Mail{ID: "after", To: []string{"ann@after.example"}}, size); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// untilRoom is how many mails of that size must leave the store as it is, before fresh mail
// is fetched at full speed again. What is recorded of each takes less than a tenth of it.
func untilRoom(t *testing.T, c *broker.Conn, size int) int {
	t.Helper()
	used, limit, err := c.Room(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return int((float64(used) - broker.RoomForFresh*float64(limit)) / (1.1 * float64(size)))
}

// dueNow is how many copies in the lane's schedule have come due.
func dueNow(t *testing.T, c *broker.Conn) int {
	t.Helper()
	stream, err := c.JS().Stream(t.Context(), wire.Lane("normal").LaterStream())
	if err != nil {
		t.Fatal(err)
	}
	i, err := stream.Info(t.Context(), jetstream.WithSubjectFilter(wire.Lane("normal").CopySubjects(wire.CopyDue)))
	if err != nil {
		t.Fatal(err)
	}
	return len(i.State.Subjects)
}

// TestFullOfWhatStays: so much of the store is taken by what nobody will send
// soon that it is full before it has been drained: dead letters up to the mark
// of fresh mail, and mail that waits for a day, up to that of due mail. What
// lies in the lane is what would make room, and has to go all the same.
func TestFullOfWhatStays(t *testing.T) {
	testrun.Beside(t)
	const size = 100 << 10
	for name, c := range map[string]struct {
		staying int
		to      string
	}{
		"dead letters":   {90, "550@stays%d.example"},
		"mail for later": {140, "450@stays%d.example"},
	} {
		t.Run(name, func(t *testing.T) {
			room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
			s := begin(t, Config{Drained: 2 * time.Minute, Env: []string{"POSTRIDER_LANES=normal=1", "POSTRIDER_RETRY_AFTER=24h", "POSTRIDER_DATA_DIR=" + filepath.Join(room, "data")}})
			p, f := &Producer{}, s.filler(t)
			for n := range c.staying {
				m := Mail{ID: fmt.Sprintf("stays%d", n), To: []string{fmt.Sprintf(c.to, n)}}
				if err := f.publish(m, size); err != nil {
					t.Fatal(err)
				}
			}
			testrun.Eventually(t, "all of them stay", time.Minute, func() bool { return metric(t, s.broker, "postrider_settled_total") >= float64(c.staying) })
			if err := s.relay.End(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			if len(fillLane(t, f, p, size)) == 0 {
				t.Fatal("the lane does not get full")
			}
			if _, err := Await(s.broker.Err, `mail is fetched one at a time`, ready); err != nil {
				t.Fatal(err)
			}
			if err := s.startRelay(); err != nil {
				t.Fatal(err)
			}
			accepted := func() int {
				got, err := Accepted(filepath.Join(s.Dir, "book"))
				if err != nil {
					t.Fatal(err)
				}
				n := 0
				for _, m := range p.acked {
					n += got[Key{m.ID, m.To[0]}]
				}
				return n
			}
			testrun.Eventually(t, fmt.Sprintf("all %d of the lane are sent", len(p.acked)), 2*time.Minute, func() bool { return accepted() >= len(p.acked) })
		})
	}
}

// TestDiskFull fills the disk itself under load. Producers hear nothing or an
// error, nobody falsely that the mail was taken, and service comes back when
// there is room: by itself or, where a purge met the full disk, with a new worker.
func TestDiskFull(t *testing.T) {
	testrun.Beside(t)
	room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	s := begin(t, Config{Workers: 1, Env: []string{"POSTRIDER_LANES=normal=1", "POSTRIDER_DATA_DIR=" + filepath.Join(room, "data")}})
	p := s.producer(4)
	p.Every = 20 * time.Millisecond
	publishing, enough := context.WithCancel(t.Context())
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(publishing, 1<<30, MixedMail) }()
	stream.Pause(t.Context(), 2*time.Second)
	ballast := filepath.Join(room, "ballast")
	full := Fault{From: time.Now()}
	fill(t, ballast)
	stream.Pause(t.Context(), diskFullFor) // the disk is full
	atFull := len(p.Acknowledged())
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testrun.Eventually(t, "producers are served again", time.Minute, func() bool {
		if s.broker.ended() {
			s.startAfterHang(t)
		}
		return len(p.Acknowledged()) > atFull+50
	})
	full.To = time.Now().Add(settle)
	s.faults = append(s.faults, full)
	enough()
	<-published
	if s.broker.ended() {
		t.Error("the worker that runs the broker has ended")
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "dead though delivered", r.Both)
	none(t, "sent twice, which no fault explains", r.Unexplained)
}

// startAfterHang starts the worker that runs the broker again, as its supervisor
// does, if it has ended because its store is broken.
func (s *storm) startAfterHang(t *testing.T) {
	t.Helper()
	said, err := os.ReadFile(s.broker.Err)
	if err != nil {
		t.Fatal(err)
	}
	if code := s.broker.Cmd.ProcessState.ExitCode(); code != 69 || !strings.Contains(string(said), "worker: the store of the embedded broker is broken") {
		t.Fatalf("the worker that runs the broker has ended with %d", code)
	}
	t.Log("the store hung, and the worker ended for a new one")
	s.kills++
	if err := s.startBroker(); err != nil {
		t.Fatal(err)
	}
}

// TestStoreHangs: a purge meets the full disk, and the server locks the stream for
// good. The worker says so, and when there is room it ends for a new one, which
// has all the mail.
func TestStoreHangs(t *testing.T) {
	testrun.Beside(t)
	room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	s := begin(t, Config{Env: []string{"POSTRIDER_LANES=normal=1", "POSTRIDER_DATA_DIR=" + filepath.Join(room, "data")}})
	// Nothing may be written but what this test writes: the worker that starts without its
	// relay takes no mail.
	for _, p := range []*Process{s.relay, s.broker} {
		if err := p.End(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.startBroker(); err != nil {
		t.Fatal(err)
	}
	if _, err := Await(s.broker.Err, `refused the connection`, ready); err != nil {
		t.Fatal(err)
	}
	p, f := &Producer{}, s.filler(t)
	c, err := s.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for n := range 20 {
		if err := f.publish(OneMail(n), 1<<10); err != nil {
			t.Fatal(err)
		}
		p.acked = append(p.acked, OneMail(n))
	}
	// So many of one subject that the tombstones of their purge need a new page. The
	// other subject keeps the server from removing the block as a whole.
	waits, stays := wire.Key{Lane: "normal", ID: "waits", Origin: "1-1", Recipient: wire.All}, wire.Key{Lane: "normal", ID: "stays", Origin: "1-2", Recipient: wire.All}
	for range 1000 {
		if _, err := c.JS().Publish(t.Context(), waits.CopySubject(wire.CopyLater), nil); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.JS().Publish(t.Context(), stays.CopySubject(wire.CopyLater), nil); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(room, "ballast")
	fill(t, ballast)
	if err := c.NC().PublishMsg(&nats.Msg{Subject: waits.CopySubject(wire.CopyLater), Header: nats.Header{jetstream.MsgRollup: {jetstream.MsgRollupSubject}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := Await(s.broker.Err, `the worker ends, and its supervisor has to start it again`, time.Minute); err != nil {
		t.Fatal(err)
	}
	if s.broker.ended() {
		t.Error("the worker has ended before there is room")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	testrun.Eventually(t, "the worker ends", 2*time.Minute, s.broker.ended)
	s.startAfterHang(t)
	var later jetstream.Stream
	testrun.Eventually(t, "the new broker answers", ready, func() bool {
		var err error
		later, err = c.JS().Stream(t.Context(), wire.Lane("normal").LaterStream())
		return err == nil
	})
	if err := later.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.startRelay(); err != nil {
		t.Fatal(err)
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
}

// fill writes until the disk is full.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}
