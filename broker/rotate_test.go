package broker_test

import (
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/smtptest"
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

// TestChangedKey: another key in the file of the seed, or another user's JWT and seed, is
// used at the next connect. While the file holds neither, the last one is.
func TestChangedKey(t *testing.T) {
	t.Parallel()
	firstSeed, first := userKey(t)
	secondSeed, second := userKey(t)
	creds := newIssuer(t)
	firstCreds, firstUser := creds.user(t)
	secondCreds, secondUser := creds.user(t)
	for name, c := range map[string]struct {
		server       func(o *server.Options)
		config       func(c *broker.Config, file string)
		files, users [2]string
	}{
		"nkey": {
			func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: first}, {Nkey: second}} },
			func(c *broker.Config, file string) { c.NKey = file },
			[2]string{firstSeed, secondSeed}, [2]string{first, second},
		},
		"creds": {
			creds.trust, func(c *broker.Config, file string) { c.Creds = file },
			[2]string{firstCreds, secondCreds}, [2]string{firstUser, secondUser},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "file")
			cfg := broker.DefaultConfig()
			cfg.URL, cfg.Role, cfg.DataDir = natstest.StartServer(t, c.server), broker.Operator, t.TempDir()
			c.config(&cfg, file)
			copyFile(t, c.files[0], file)
			said := &log{}
			conn, err := broker.Dial(natstest.Within(t), cfg, slog.New(slog.NewTextHandler(said, nil)))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if got := userOf(t, conn); got != c.users[0] {
				t.Fatalf("connected as %s", got)
			}
			if err := os.WriteFile(file, []byte("half a se"), 0o600); err != nil {
				t.Fatal(err)
			}
			again(t, conn, said)
			if got := userOf(t, conn); got != c.users[0] || strings.Count(said.String(), "a file cannot be read again") != 1 || strings.Contains(said.String(), "half a se") {
				t.Errorf("with a bad file it is %s:\n%s", got, said)
			}
			copyFile(t, c.files[1], file)
			again(t, conn, said)
			if got := userOf(t, conn); got != c.users[1] {
				t.Errorf("with the second one it is %s:\n%s", got, said)
			}
		})
	}
}

// TestChangedCertificates: the server has a certificate of another authority, and accepts
// only clients of that.
func TestChangedCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cfg := broker.DefaultConfig()
	cfg.CA, cfg.Cert, cfg.Key = filepath.Join(dir, "ca"), filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	change := func(o *server.Options) {
		a := smtptest.NewAuthority(t)
		o.TLSConfig = &tls.Config{
			Certificates: []tls.Certificate{a.Certificate("127.0.0.1", time.Hour)},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(t, a.File()), MinVersion: tls.VersionTLS12,
		}
		o.TLSVerify = true
		cert, key := certificateFiles(t, a.Certificate("worker", time.Hour))
		copyFile(t, a.File(), cfg.CA)
		copyFile(t, cert, cfg.Cert)
		copyFile(t, key, cfg.Key)
	}
	s, o := plainServer(t, change)
	cfg.URL, cfg.Role = "nats://"+s.Addr().String(), broker.Publisher
	said := &log{}
	conn, err := broker.Dial(natstest.Within(t), cfg, slog.New(slog.NewTextHandler(said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	change(o)
	if err := s.ReloadOptions(o); err != nil {
		t.Fatal(err)
	}
	again(t, conn, said)
}

// again connects again and waits for it.
func again(t *testing.T, conn *broker.Conn, said *log) {
	t.Helper()
	before := conn.NC().Stats().Reconnects
	if err := conn.NC().ForceReconnect(); err != nil {
		t.Fatal(err)
	}
	testrun.Eventually(t, "it is connected again", 30*time.Second, func() bool { return conn.NC().IsConnected() && conn.NC().Stats().Reconnects > before }, said.String)
}

// userOf is whom the server takes the connection for.
func userOf(t *testing.T, conn *broker.Conn) string {
	t.Helper()
	m, err := conn.NC().Request("$SYS.REQ.USER.INFO", nil, natstest.Timeout)
	if err != nil {
		t.Fatal(err)
	}
	var r struct {
		Data struct {
			User string `json:"user"`
		} `json:"data"`
	}
	if err := json.Unmarshal(m.Data, &r); err != nil {
		t.Fatal(err)
	}
	return r.Data.User
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
