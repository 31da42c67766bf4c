package broker_test

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/wire"
)

// TestCredentials connects in each way that an operator may protect a broker,
// provisions it and publishes; without the credential it is refused.
func TestCredentials(t *testing.T) {
	t.Parallel()
	authority := smtptest.NewAuthority(t)
	seed, public := userKey(t)
	issuer := newIssuer(t)
	for name, c := range map[string]struct {
		server func(o *server.Options)
		config func(c *broker.Config)
	}{
		"user and password": {
			func(o *server.Options) { o.Username, o.Password = "joe", "secret" },
			func(c *broker.Config) { c.User, c.Password = "joe", "secret" },
		},
		"user in the URL": {
			func(o *server.Options) { o.Username, o.Password = "joe", "secret" },
			func(c *broker.Config) { c.URL = "nats://joe:secret@" + c.URL[len("nats://"):] },
		},
		"token": {
			func(o *server.Options) { o.Authorization = "secret" },
			func(c *broker.Config) { c.Token = "secret" },
		},
		"token in the URL": {
			func(o *server.Options) { o.Authorization = "secret" },
			func(c *broker.Config) { c.URL = "nats://secret@" + c.URL[len("nats://"):] },
		},
		"nkey": {
			func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} },
			func(c *broker.Config) { c.NKey = seed },
		},
		"creds": {issuer.trust, func(c *broker.Config) { c.Creds, _ = issuer.user(t) }},
		"TLS, a certificate on both sides": {
			func(o *server.Options) {
				o.TLSConfig = &tls.Config{
					Certificates: []tls.Certificate{authority.Certificate("127.0.0.1", time.Hour)},
					ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool(t, authority.File()), MinVersion: tls.VersionTLS12,
				}
				o.TLSVerify = true
			},
			func(c *broker.Config) {
				c.CA = authority.File()
				c.Cert, c.Key = certificateFiles(t, authority.Certificate("worker", time.Hour))
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := broker.DefaultConfig()
			cfg.DataDir, cfg.Role = t.TempDir(), broker.Operator
			cfg.URL = natstest.StartServer(t, c.server)
			without := cfg
			c.config(&cfg)
			for _, err := range cfg.Validate() {
				t.Error(err)
			}
			if conn, err := broker.Dial(natstest.Within(t), without, quiet); err == nil {
				conn.Close()
				t.Error("it is let in without the credential")
			}
			conn, err := broker.Dial(natstest.Within(t), cfg, quiet)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if told := conn.URL(); told != without.URL {
				t.Errorf("the server's URL is %s, want %s", told, without.URL)
			}
			if _, err := broker.Provision(natstest.Within(t), conn, []wire.Lane{normal}, cfg); err != nil {
				t.Fatal(err)
			}
			if _, err := conn.JS().Publish(natstest.Within(t), normal.SendSubject(), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
}

// userKey makes an nkey and the file of its seed.
func userKey(t *testing.T) (file, public string) {
	t.Helper()
	kp := must(t, nkeys.CreateUser)
	file = filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, must(t, kp.Seed), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, must(t, kp.PublicKey)
}

// issuer is an account that signs users, and the operator that signs the account.
type issuer struct {
	account           nkeys.KeyPair
	operatorToken     string
	claims            *jwt.AccountClaims
	accountToken      string
	system, systemTok string
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	operator, system, account := must(t, nkeys.CreateOperator), must(t, nkeys.CreateAccount), must(t, nkeys.CreateAccount)
	i := &issuer{account: account, system: must(t, system.PublicKey)}
	op := jwt.NewOperatorClaims(must(t, operator.PublicKey))
	i.operatorToken = must(t, func() (string, error) { return op.Encode(operator) })
	sys := jwt.NewAccountClaims(i.system)
	i.systemTok = must(t, func() (string, error) { return sys.Encode(operator) })
	i.claims = jwt.NewAccountClaims(must(t, account.PublicKey))
	i.claims.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1}
	i.accountToken = must(t, func() (string, error) { return i.claims.Encode(operator) })
	return i
}

// trust makes a server that trusts the operator.
func (i *issuer) trust(o *server.Options) {
	claims, err := jwt.DecodeOperatorClaims(i.operatorToken)
	resolver := &server.MemAccResolver{}
	if err := errors.Join(err, resolver.Store(i.claims.Subject, i.accountToken), resolver.Store(i.system, i.systemTok)); err != nil {
		panic(err)
	}
	o.SystemAccount = i.system
	o.TrustedOperators, o.AccountResolver = []*jwt.OperatorClaims{claims}, resolver
}

// user makes one, and the file of its credentials.
func (i *issuer) user(t *testing.T) (file, public string) {
	t.Helper()
	user := must(t, nkeys.CreateUser)
	public = must(t, user.PublicKey)
	claims := jwt.NewUserClaims(public)
	token := must(t, func() (string, error) { return claims.Encode(i.account) })
	file = filepath.Join(t.TempDir(), "user.creds")
	if err := os.WriteFile(file, must(t, func() ([]byte, error) { return jwt.FormatUserConfig(token, must(t, user.Seed)) }), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

func must[T any](t *testing.T, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func pool(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(b)
	return p
}

// certificateFiles writes a certificate and its key as PEM.
func certificateFiles(t *testing.T, c tls.Certificate) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalECPrivateKey(c.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}
