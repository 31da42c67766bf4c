package broker_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

func TestConnTellsThatItWasLost(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	before := b.Conn.Epoch()
	if again := b.Conn.Epoch(); again != before {
		t.Errorf("Epoch went from %d to %d for nothing", before, again)
	}
	if at := b.Conn.LastReconnect(); !at.IsZero() {
		t.Errorf("LastReconnect = %v, want none", at)
	}
	lost := b.Conn.NC().StatusChanged(nats.RECONNECTING)
	start := time.Now()
	natstest.Shutdown(t, b.Embedded)
	<-lost
	down := b.Conn.Epoch()
	if down <= before {
		t.Errorf("Epoch while disconnected = %d, before %d", down, before)
	}
	if _, err := b.Conn.Store().Last(natstest.Within(t), "MAIL_RECORD", "x"); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Last while disconnected = %v, want ErrAway", err)
	}
	b.Restart(t)
	if up := b.Conn.Epoch(); up <= before {
		t.Errorf("Epoch after a reconnect = %d, before %d", up, before)
	}
	// The handler runs a moment after the first answers.
	testrun.Eventually(t, "the reconnect is noted", natstest.Timeout, func() bool { return !b.Conn.LastReconnect().IsZero() })
	if at := b.Conn.LastReconnect(); at.Before(start) || at.After(time.Now()) {
		t.Errorf("LastReconnect = %v, want between %v and now", at, start)
	}
}

func TestConnNow(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	// One machine, one clock: what is measured is the error of measuring.
	for _, c := range []*broker.Conn{b.Conn, b.Connect(t, broker.Publisher)} {
		if d := time.Until(c.Now()).Abs(); d > 200*time.Millisecond {
			t.Errorf("Now is %v beside the broker's clock", d)
		}
	}
}

func TestRoom(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t, normal, bulk)
	used, limit, err := b.Conn.Room(natstest.Within(t))
	if err != nil || limit == 0 || used > limit {
		t.Fatalf("Room = %d of %d, %v", used, limit, err)
	}
	if _, err := b.Conn.JS().Publish(natstest.Within(t), normal.SendSubject(), make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	more, same, err := b.Conn.Room(natstest.Within(t))
	if err != nil || more < used+1<<20 || same != limit {
		t.Errorf("after a MiB: Room = %d of %d, %v; before %d of %d", more, same, err, used, limit)
	}
	var sum uint64
	for _, l := range b.Lanes {
		part := uint64(natstest.ConfigOf(t, b.Conn.JS(), l.SendStream()).MaxBytes)
		if want := limit * 3 / 10; part > want || part < want-1000 {
			t.Errorf("lane %s has %d of %d", l, part, limit)
		}
		sum += part
	}
	event := uint64(natstest.ConfigOf(t, b.Conn.JS(), "MAIL_EVENT").MaxBytes)
	if want := limit / 10; event > want || event < want-1000 {
		t.Errorf("MAIL_EVENT has %d of %d", event, limit)
	}
	// A lane more finds its place, and those that are there keep theirs.
	b.Lanes = append(b.Lanes, "urgent")
	b.Restart(t)
	if _, err := broker.Provision(natstest.Within(t), b.Conn, b.Lanes, b.Config); err != nil {
		t.Fatal(err)
	}
	sum += event + uint64(natstest.ConfigOf(t, b.Conn.JS(), "MAIL_SEND_URGENT").MaxBytes)
	if _, limit, err = b.Conn.Room(natstest.Within(t)); err != nil || sum > limit/100*90+1000 {
		t.Errorf("with a third lane %d of %d are promised, %v", sum, limit, err)
	}
}

// log is a log that tests read while it is written.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestDialFailures(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	host := strings.TrimPrefix(b.Config.URL, "nats://")
	nobody := freeport.Addr()
	other := natstest.Start(t)
	empty := t.TempDir()
	missing := filepath.Join(empty, "missing")
	tests := map[string]struct {
		change func(*broker.Config)
		want   error // nil: no sentinel
		says   []string
	}{
		"nothing there, NATS_URL empty":            {func(c *broker.Config) { c.URL, c.Listen = "", nobody }, stream.ErrAway, []string{"start a worker", "NATS_URL", nobody}},
		"nothing there, nor in POSTRIDER_DATA_DIR": {func(c *broker.Config) { c.URL, c.Listen, c.DataDir = "", nobody, missing }, stream.ErrAway, []string{"start a worker", "NATS_URL", nobody, missing}},
		"no POSTRIDER_DATA_DIR":                    {func(c *broker.Config) { c.DataDir = missing }, nil, []string{host, "set POSTRIDER_DATA_DIR", missing + ", which does not exist", "NATS_URL"}},
		"an empty POSTRIDER_DATA_DIR":              {func(c *broker.Config) { c.DataDir = empty }, nil, []string{"set POSTRIDER_DATA_DIR", empty + ", which has none"}},
		"another broker's POSTRIDER_DATA_DIR":      {func(c *broker.Config) { c.DataDir = other.Config.DataDir }, nil, []string{"set POSTRIDER_DATA_DIR", other.Config.DataDir + ", which has another broker's"}},
		"a POSTRIDER_DATA_DIR that cannot be read": {func(c *broker.Config) { c.DataDir = b.Embedded.ProducerFile() }, nil, []string{"set POSTRIDER_DATA_DIR", "not a directory"}},
		"nothing there":                            {func(c *broker.Config) { c.URL = nobody }, stream.ErrAway, []string{"NATS_URL", nobody}},
		"no such host":                             {func(c *broker.Config) { c.URL = "nats://nowhere.invalid" }, stream.ErrAway, []string{"nowhere.invalid:4222"}},
		"wrong password":                           {func(c *broker.Config) { c.User, c.Password = "joe", "hunter2" }, nats.ErrAuthorization, []string{"refuses", "NATS_USER"}},
		"wrong password in NATS_URL":               {func(c *broker.Config) { c.URL = "nats://joe:hunter2@" + host }, nats.ErrAuthorization, []string{"a user in NATS_URL"}},
		"wrong token":                              {func(c *broker.Config) { c.Token = "hunter2" }, nats.ErrAuthorization, []string{"NATS_TOKEN"}},
		"TLS asked of a server without":            {func(c *broker.Config) { c.URL = "tls://" + host }, nil, []string{"TLS"}},
		"password in an URL, nobody":               {func(c *broker.Config) { c.URL = "nats://joe:hunter2@" + nobody }, stream.ErrAway, []string{nobody}},
		"an URL that is none":                      {func(c *broker.Config) { c.URL = "nats://joe:hunter2@[::" }, nil, []string{"NATS_URL"}},
		"no such creds":                            {func(c *broker.Config) { c.Creds = "/nowhere/c" }, nil, []string{"NATS_CREDS", "/nowhere/c"}},
		"no such nkey":                             {func(c *broker.Config) { c.NKey = "/nowhere/n" }, nil, []string{"NATS_NKEY", "/nowhere/n"}},
		"no such CA":                               {func(c *broker.Config) { c.CA = "/nowhere/ca" }, nil, []string{"NATS_CA", "/nowhere/ca"}},
		"a CA that is none":                        {func(c *broker.Config) { c.CA = b.Embedded.ProducerFile() }, nil, []string{"NATS_CA"}},
		"no such certificate":                      {func(c *broker.Config) { c.Cert, c.Key = "/nowhere/c", "/nowhere/k" }, nil, []string{"NATS_CERT", "/nowhere/c"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := b.Config
			cfg.Role = broker.Operator
			tt.change(&cfg)
			c, err := broker.Dial(natstest.Within(t), cfg, quiet)
			if err == nil {
				c.Close()
				t.Fatal("Dial succeeded")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("Dial = %v, want one line", err)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("Dial = %v, want %v", err, tt.want)
			}
			for _, s := range tt.says {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("Dial = %v, want it to say %q", err, s)
				}
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error holds the password: %v", err)
			}
		})
	}
}

func TestWorkerWaitsForItsBroker(t *testing.T) {
	t.Parallel()
	words := &log{}
	cfg := natstest.EmbeddedConfig(t)
	cfg.Listen = freeport.Addr()
	remote := cfg
	remote.URL = "nats://" + cfg.Listen
	dialed := make(chan error)
	ctx := natstest.Within(t)
	go func() {
		c, err := broker.Dial(ctx, remote, slog.New(slog.NewTextHandler(words, nil)))
		if err == nil {
			c.Close()
		}
		dialed <- err
	}()
	testrun.Eventually(t, "it says that it waits", natstest.Timeout, func() bool {
		return strings.Contains(words.String(), "waiting for the broker")
	})
	natstest.StartEmbedded(t, cfg, normal)
	if err := <-dialed; err != nil {
		t.Error(err)
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	remote.URL = "nats://" + freeport.Addr()
	if _, err := broker.Dial(canceled, remote, quiet); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Dial that was canceled = %v", err)
	}
}

func TestNamesAndInboxes(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	for _, role := range []broker.Role{broker.Worker, broker.Publisher, broker.Operator} {
		nc := b.Connect(t, role).NC()
		if want := "postrider " + string(role); nc.Opts.Name != want {
			t.Errorf("connection is named %q, want %q", nc.Opts.Name, want)
		}
		if got, want := nc.NewInbox(), fmt.Sprintf("_INBOX_%s.", role); !strings.HasPrefix(got, want) {
			t.Errorf("inbox %s, want one in %s", got, want)
		}
	}
}

func TestCloseTwice(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	c := b.Connect(t, broker.Worker)
	c.Close()
	c.Close()
	if !c.NC().IsClosed() {
		t.Error("Close left the connection open")
	}
	natstest.Shutdown(t, b.Embedded)
	b.Conn.Close() // while reconnecting
	if !b.Conn.NC().IsClosed() {
		t.Error("Close left a connection reconnecting")
	}
}

// TestNothingIsKeptForAReconnect: a write that got no answer because the connection was
// lost is not made when it is back. Its lease was checked long before.
func TestNothingIsKeptForAReconnect(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	lost := b.Conn.NC().StatusChanged(nats.RECONNECTING)
	natstest.Shutdown(t, b.Embedded)
	<-lost
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	m := nats.NewMsg(key.RecordSubject())
	ctx, cancel := natstest.Briefly(t)
	defer cancel()
	if _, err := b.Conn.Store().Set(ctx, m, m.Subject, 0); !errors.Is(err, stream.ErrAway) {
		t.Errorf("Set while disconnected = %v, want ErrAway", err)
	}
	b.Restart(t)
	// Whatever was kept is sent before this.
	if _, err := b.Conn.Store().Last(natstest.Within(t), wire.StreamRecord, m.Subject); !errors.Is(err, stream.ErrNotFound) {
		t.Errorf("the write was made after the reconnect: %v", err)
	}
}
