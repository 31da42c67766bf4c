package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/internal/reread"
	"github.com/postrider/postrider/mail"
)

// credentials are the options that the NATS_ variables ask for. Their files are read again
// at each connect. The connection must be stored in the key.
func (c Config) credentials(ctx context.Context, log *slog.Logger) ([]nats.Option, *nkey, error) {
	kept := make(map[string]*reread.Kept)
	for _, f := range c.Files() {
		content, err := f.Read()
		if err != nil {
			return nil, nil, err
		}
		kept[f.Setting] = reread.Keep(f, content, log)
	}
	opts, key := withTLS(kept), &nkey{}
	switch {
	case c.Creds != "":
		opts = append(opts, withJWT(kept[natsCreds]))
	case c.NKey != "":
		key.seed = kept[natsNKey]
		opts = append(opts, key.option)
	case c.User != "":
		opts = append(opts, nats.UserInfoHandler(func() (string, string) { return c.User, secret(c.Password, kept[natsPassword]) }))
	case c.Token != "":
		opts = append(opts, nats.TokenHandler(func() string { return secret(c.Token, kept[natsToken]) }))
	case !c.hasUserInfo():
		seed, err := c.ownSeed(ctx)
		if err != nil {
			return nil, nil, fmt.Errorf("connect to NATS at %s: %w", c.address(), err)
		}
		if seed == "" {
			break
		}
		own, err := nats.NkeyOptionFromSeed(seed)
		if err != nil {
			return nil, nil, fmt.Errorf("read the credential in POSTRIDER_DATA_DIR: %w", err)
		}
		opts = append(opts, own)
	}
	return opts, key, nil
}

// secret is what the file of a secret holds or, if there is none, the variable.
func secret(variable mail.Secret, file *reread.Kept) string {
	if file == nil {
		return string(variable)
	}
	return reread.Secret(file.Now())
}

// withTLS is the certificate that is shown and those that the server's is checked against.
func withTLS(kept map[string]*reread.Kept) []nats.Option {
	var show nats.TLSCertHandler
	if pair := kept[natsCert]; pair != nil {
		show = func() (tls.Certificate, error) {
			content := pair.Now()
			return tls.X509KeyPair(content, content)
		}
	}
	var trust nats.RootCAsHandler
	if ca := kept[natsCA]; ca != nil {
		trust = func() (*x509.CertPool, error) {
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(ca.Now())
			return pool, nil
		}
	}
	if show == nil && trust == nil {
		return nil
	}
	return []nats.Option{nats.ClientTLSConfig(show, trust)}
}

// withJWT logs in with the JWT and the seed of a file. nats.go asks for the signature right
// after the JWT: both come from one reading.
func withJWT(file *reread.Kept) nats.Option {
	var content []byte
	return nats.UserJWT(func() (string, error) {
		content = file.Now()
		return nkeys.ParseDecoratedJWT(content)
	}, func(nonce []byte) ([]byte, error) { return sign(content, nonce) })
}

func sign(seed, nonce []byte) ([]byte, error) {
	key, err := userKey(seed)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	return key.Sign(nonce)
}

// nkey logs in with the key whose seed a file holds. A new key has a new public half, which
// nats.go takes from the connection's options. It dials and reads them under one lock, so
// they are changed while it dials.
type nkey struct {
	net.Dialer

	seed *reread.Kept
	nc   atomic.Pointer[nats.Conn] // nil until the first connect
}

func (k *nkey) option(o *nats.Options) (err error) {
	k.Timeout = o.Timeout
	o.CustomDialer, o.SignatureCB = k, func(nonce []byte) ([]byte, error) { return sign(k.seed.Now(), nonce) }
	o.Nkey, err = k.public()
	return err
}

func (k *nkey) public() (string, error) {
	key, err := userKey(k.seed.Now())
	if err != nil {
		return "", err
	}
	defer key.Wipe()
	return key.PublicKey()
}

// Dial is nats.go's CustomDialer.
func (k *nkey) Dial(network, address string) (net.Conn, error) {
	if nc := k.nc.Load(); nc != nil {
		var err error
		if nc.Opts.Nkey, err = k.public(); err != nil {
			return nil, err
		}
	}
	return k.Dialer.Dial(network, address)
}
