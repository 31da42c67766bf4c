package broker_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
)

// TestChangedPassword: the server's password or token changes, and later the file that a
// worker has it from. The worker connects again, and says which variables to look at.
func TestChangedPassword(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		server func(o *server.Options, secret string)
		config func(c *broker.Config, file string, secret mail.Secret)
		says   string
	}{
		"password": {
			func(o *server.Options, secret string) { o.Username, o.Password = "joe", secret },
			func(c *broker.Config, file string, secret mail.Secret) {
				c.User, c.Password, c.PasswordFile = "joe", secret, file
			},
			"check NATS_USER, NATS_PASSWORD_FILE",
		},
		"token": {
			func(o *server.Options, secret string) { o.Authorization = secret },
			func(c *broker.Config, file string, secret mail.Secret) { c.Token, c.TokenFile = secret, file },
			"check NATS_TOKEN_FILE",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "secret")
			hold := func(secret string) {
				if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			hold("first")
			s, o := plainServer(t, func(o *server.Options) { c.server(o, "first") })
			cfg := broker.DefaultConfig()
			cfg.URL, cfg.Role = "nats://"+s.Addr().String(), broker.Publisher
			c.config(&cfg, file, "first")
			said := &log{}
			conn, err := broker.Dial(natstest.Within(t), cfg, slog.New(slog.NewTextHandler(said, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()

			c.server(o, "second")
			if err := s.ReloadOptions(o); err != nil {
				t.Fatal(err)
			}
			testrun.Eventually(t, "the log names the variable", 30*time.Second, func() bool { return strings.Contains(said.String(), c.says) }, said.String)
			hold("second")
			testrun.Eventually(t, "it is connected again", 30*time.Second, conn.NC().IsConnected, said.String)
			if n := strings.Count(said.String(), "refuses the credential"); n != 1 {
				t.Errorf("said %d times:\n%s", n, said)
			}
		})
	}
}

// plainServer is a server whose options can be changed and reloaded.
func plainServer(t *testing.T, change func(*server.Options)) (*server.Server, *server.Options) {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true}
	change(o)
	s, err := server.NewServer(o.Clone())
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(natstest.Timeout) {
		t.Fatal("the server does not become ready")
	}
	return s, o
}
