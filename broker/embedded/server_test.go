package embedded_test

import (
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/wire"
)

func TestRestartKeepsMailAndCredentials(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	lanes := []wire.Lane{normal}
	e, c := natstest.StartEmbedded(t, cfg, lanes...)
	if _, err := broker.Provision(natstest.Within(t), c, lanes, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := c.JS().Publish(natstest.Within(t), normal.SendSubject(), []byte("x"), jetstream.WithMsgID("a")); err != nil {
		t.Fatal(err)
	}
	keys := readKeys(t, e)
	c.Close()
	natstest.Shutdown(t, e)

	e, c = natstest.StartEmbedded(t, cfg, lanes...)
	if got := readKeys(t, e); got != keys {
		t.Error("a restart made new credentials")
	}
	m, err := c.Store().Last(natstest.Within(t), normal.SendStream(), normal.SendSubject())
	if err != nil || string(m.Data) != "x" {
		t.Errorf("after a restart: %v, %v", m, err)
	}
}

// readKeys gives both credentials, whose modes it checks.
func readKeys(t *testing.T, e *embedded.Server) (keys [2]string) {
	t.Helper()
	for i, name := range []string{e.OperatorFile(), e.ProducerFile()} {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode() != 0o600 {
			t.Errorf("%s has mode %v", filepath.Base(name), fi.Mode())
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		keys[i] = string(b)
	}
	return keys
}

func TestSecondBrokerOnADirectory(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	natstest.StartEmbedded(t, cfg, normal)
	_, err := embedded.Start(natstest.Within(t), cfg, nil, quiet)
	if !errors.Is(err, embedded.ErrDirInUse) || !strings.Contains(err.Error(), cfg.DataDir) || !strings.Contains(err.Error(), "POSTRIDER_DATA_DIR") {
		t.Errorf("a second broker: %v", err)
	}
}

func TestPortTakenByNATS(t *testing.T) {
	t.Parallel()
	first, _ := natstest.StartEmbedded(t, natstest.EmbeddedConfig(t), normal)
	cfg := natstest.EmbeddedConfig(t)
	cfg.Listen = strings.TrimPrefix(first.URL(), "nats://")
	_, err := embedded.Start(natstest.Within(t), cfg, nil, quiet)
	if !errors.Is(err, embedded.ErrPortTaken) || !strings.Contains(err.Error(), "NATS_URL="+first.URL()) || !strings.Contains(err.Error(), "NATS_LISTEN") {
		t.Errorf("Start = %v", err)
	}
	// The failed start holds nothing.
	cfg.Listen = "127.0.0.1:0"
	natstest.StartEmbedded(t, cfg, normal)
}

func TestPortTakenByAnotherProgram(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // something that greets like a mail server
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Write([]byte("220 mx.example.org ESMTP\r\n"))
			conn.Close()
		}
	}()
	cfg := natstest.EmbeddedConfig(t)
	cfg.Listen = l.Addr().String()
	_, err = embedded.Start(natstest.Within(t), cfg, nil, quiet)
	if !errors.Is(err, embedded.ErrPortTaken) || strings.Contains(err.Error(), "NATS_URL") || !strings.Contains(err.Error(), "NATS_LISTEN") {
		t.Errorf("Start = %v", err)
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(t *testing.T, c *broker.Config)
		says   string
	}{
		"no port":      {func(_ *testing.T, c *broker.Config) { c.Listen = "127.0.0.1" }, "NATS_LISTEN"},
		"odd port":     {func(_ *testing.T, c *broker.Config) { c.Listen = "127.0.0.1:70000" }, "NATS_LISTEN"},
		"not our host": {func(_ *testing.T, c *broker.Config) { c.Listen = "192.0.2.1:4222" }, "NATS_LISTEN"},
		"directory is a file": {func(t *testing.T, c *broker.Config) {
			c.DataDir = filepath.Join(c.DataDir, "f")
			if err := os.WriteFile(c.DataDir, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "POSTRIDER_DATA_DIR"},
		"spoilt credential": {func(t *testing.T, c *broker.Config) {
			if err := os.WriteFile(filepath.Join(c.DataDir, "operator.nk"), []byte("SUSECRET"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "operator.nk"},
		"store is a file": {func(t *testing.T, c *broker.Config) {
			if err := os.WriteFile(filepath.Join(c.DataDir, "jetstream"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}, "not a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := natstest.EmbeddedConfig(t)
			tt.change(t, &cfg)
			_, err := embedded.Start(natstest.Within(t), cfg, nil, quiet)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("Start = %v, want it to say %s", err, tt.says)
			}
			if strings.Contains(err.Error(), "SUSECRET") {
				t.Errorf("the error holds the seed: %v", err)
			}
		})
	}
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	e, _ := natstest.StartEmbedded(t, cfg, normal)
	if err := e.Healthy(); err != nil {
		t.Errorf("a running broker: %v", err)
	}
	// The server makes a stream's directory first.
	if err := os.MkdirAll(filepath.Join(cfg.DataDir, "jetstream", "MAIL", "streams", "MAIL_NEW"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := e.Healthy(); err != nil {
		t.Errorf("while a stream is made: %v", err)
	}
	natstest.Shutdown(t, e)
	if err := e.Healthy(); err == nil {
		t.Error("a broker that was shut down is healthy")
	}
}

func TestCredentialsInDataDir(t *testing.T) {
	t.Parallel()
	// Not on loopback alone: then every client needs a credential.
	cfg := natstest.EmbeddedConfig(t)
	cfg.Listen = "0.0.0.0:0"
	lanes := []wire.Lane{normal}
	e, c := natstest.StartEmbedded(t, cfg, lanes...)
	if _, err := broker.Provision(natstest.Within(t), c, lanes, cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := nats.Connect(e.URL()); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("without a credential, beyond loopback: %v", err)
	}
	u, err := url.Parse(e.URL())
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		role    broker.Role
		change  func(*broker.Config)
		manages bool
	}{
		"postrider finds the operator's":     {broker.Operator, func(c *broker.Config) { c.URL = e.URL() }, true},
		"also if NATS_URL is empty":          {broker.Operator, func(c *broker.Config) { c.Listen = u.Host }, true},
		"publish finds the producer's":       {broker.Publisher, func(c *broker.Config) { c.URL = e.URL() }, false},
		"a credential that is given is used": {broker.Publisher, func(c *broker.Config) { c.URL, c.NKey = e.URL(), e.OperatorFile() }, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.Role = tt.role
			tt.change(&cfg)
			c, err := broker.Dial(natstest.Within(t), cfg, quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := c.JS().Publish(natstest.Within(t), normal.SendSubject(), []byte("x")); err != nil {
				t.Errorf("publish: %v", err)
			}
			short, cancel := natstest.Briefly(t)
			defer cancel()
			if _, _, err := c.Room(short); (err == nil) != tt.manages {
				t.Errorf("may manage = %v (%v), want %v", err == nil, err, tt.manages)
			}
		})
	}
	other := cfg
	other.DataDir = t.TempDir()
	other.URL, other.Role = e.URL(), broker.Operator
	if _, err := broker.Dial(natstest.Within(t), other, quiet); err == nil || !strings.Contains(err.Error(), "POSTRIDER_DATA_DIR") {
		t.Errorf("with another POSTRIDER_DATA_DIR: %v", err)
	}
}

func TestMailLeft(t *testing.T) {
	t.Parallel()
	cfg := natstest.EmbeddedConfig(t)
	if n, err := embedded.MailLeft(natstest.Within(t), cfg, quiet); n != 0 || err != nil {
		t.Errorf("in an empty directory: %d, %v", n, err)
	}
	if entries, _ := os.ReadDir(cfg.DataDir); len(entries) != 0 {
		t.Errorf("looking made %v", entries)
	}
	b := natstest.Start(t)
	key := wire.Key{Lane: normal, ID: "a", Origin: "1-1", Recipient: wire.All}
	for _, s := range []string{normal.SendSubject(), key.CopySubject(wire.CopyDue), key.RecordSubject()} {
		if _, err := b.Conn.JS().Publish(natstest.Within(t), s, nil); err != nil {
			t.Fatal(err)
		}
	}
	cfg = b.Config
	if _, err := embedded.MailLeft(natstest.Within(t), cfg, quiet); !errors.Is(err, embedded.ErrDirInUse) {
		t.Errorf("beside a running broker: %v", err)
	}
	natstest.Shutdown(t, b.Embedded)
	if n, err := embedded.MailLeft(natstest.Within(t), cfg, quiet); n != 2 || err != nil {
		t.Errorf("one fresh, one due, one record: %d, %v; want 2", n, err)
	}
}

// TestUnopenedIsNotEmpty: a stream that cannot be opened is not taken for an empty
// one, and a worker that starts on it says so.
func TestUnopenedIsNotEmpty(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	if _, err := b.Conn.JS().Publish(natstest.Within(t), normal.SendSubject(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	cfg := b.Config
	natstest.Shutdown(t, b.Embedded)
	meta := filepath.Join(cfg.DataDir, "jetstream", "MAIL", "streams", normal.SendStream(), "meta.inf")
	whole, err := os.ReadFile(meta)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(meta, whole[:len(whole)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := embedded.MailLeft(natstest.Within(t), cfg, quiet); !errors.Is(err, embedded.ErrUnopened) || !strings.Contains(err.Error(), normal.SendStream()) {
		t.Errorf("with a damaged stream: %d, %v", n, err)
	}
	var log embedded.Logged
	cfg.Listen = "127.0.0.1:0"
	e, err := embedded.Start(natstest.Within(t), cfg, nil, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	natstest.Shutdown(t, e)
	if said := log.String(); !strings.Contains(said, "level=ERROR") || !strings.Contains(said, normal.SendStream()) {
		t.Errorf("it says %s", said)
	}
}
