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

// publish returns nil where the mail was acknowledged.
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

// isDue is the mail of that number, deferred once.
func isDue(n int) Mail {
	return Mail{ID: fmt.Sprintf("due%d", n), To: []string{fmt.Sprintf("451x1@due%d.example", n)}}
}

// TestStoreFull fills the lane with the relay away: producers hear it, and
// nobody falsely that the mail was taken. When the relay is back the due mail
// goes first, and then everything by itself.
func TestStoreFull(t *testing.T) {
	const size, due = 100 << 10, 120
	room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	s := begin(t, Config{Env: []string{"LANES=normal=1", "RETRY_AFTER=12s", "DATA_DIR=" + filepath.Join(room, "data")}})
	p, f := &Producer{}, s.filler(t)
	for n := range due {
		if err := f.publish(isDue(n), size); err != nil {
			t.Fatal(err)
		}
		p.acked = append(p.acked, isDue(n))
	}
	eventually(t, "all are deferred", time.Minute, func() bool { return metric(t, s.broker, "postrider_settled_total") >= due })
	if err := s.relay.End(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
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
	if len(refused) == 0 {
		t.Fatal("the store does not get full")
	}
	if _, err := Await(s.broker.Err, `fresh mail waits until there is room`, ready); err != nil {
		t.Fatal(err)
	}
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
	first := 0
	for first < len(entries) && strings.HasPrefix(IDOf(entries[first].ID), "due") {
		first++
	}
	for _, e := range entries {
		if refused[IDOf(e.ID)] {
			t.Errorf("%s was refused and sent", IDOf(e.ID))
		}
	}
	t.Logf("acknowledged=%d refused=%d due_sent_first=%d of %d", len(p.acked), len(refused), first, due)
	if first < due/4 {
		t.Errorf("only %d of %d due mails went before the fresh ones", first, due)
	}
	if err := f.publish(Mail{ID: "after", To: []string{"ann@after.example"}}, size); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// TestDiskFull fills the disk itself under load. Producers hear nothing or an
// error, nobody falsely that the mail was taken, and service comes back by
// itself when there is room.
func TestDiskFull(t *testing.T) {
	room := mount(t, "-t", "tmpfs", "-o", "size=64m", "tmpfs")
	s := begin(t, Config{Workers: 1, Env: []string{"LANES=normal=1", "DATA_DIR=" + filepath.Join(room, "data")}})
	p := s.producer(4)
	p.Every = 20 * time.Millisecond
	publishing, enough := context.WithCancel(t.Context())
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(publishing, 1<<30, MixedMail) }()
	Pause(t.Context(), 2*time.Second)
	ballast := filepath.Join(room, "ballast")
	full := Fault{From: time.Now()}
	fill(t, ballast)
	Pause(t.Context(), diskFullFor) // the disk is full
	atFull := len(p.Acknowledged())
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "producers are served again", time.Minute, func() bool { return len(p.Acknowledged()) > atFull+50 })
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
	none(t, "sent twice and not open at a fault", r.Unexplained)
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
