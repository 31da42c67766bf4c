package natstest

import (
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/broker"
)

// StartServer starts a plain NATS server with JetStream, as an operator runs
// one, with options of the test's. It gives its URL and ends with the test.
func StartServer(t testing.TB, change func(o *server.Options)) string {
	t.Helper()
	o := &server.Options{
		ServerName: "plain", Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 1 << 30,
	}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatalf("start a NATS server: %v", err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(Timeout) {
		t.Fatal("the NATS server does not become ready")
	}
	return "nats://" + s.Addr().String()
}

// StartClosed starts what is left of an embedded broker that has closed its store. The
// operator's key is in dir.
func StartClosed(t testing.TB, dir string) string {
	t.Helper()
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(broker.OperatorFile(dir), seed, 0o600); err != nil {
		t.Fatal(err)
	}
	pub, err := key.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return StartServer(t, func(o *server.Options) {
		o.ServerName, o.JetStream = broker.ServerName(pub), false
		o.Nkeys = []*server.NkeyUser{{Nkey: pub}}
	})
}
