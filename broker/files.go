package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/internal/reread"
)

// The settings of files, as people know them.
const (
	natsCreds    = "NATS_CREDS" //nolint:gosec // a name
	natsNKey     = "NATS_NKEY"
	natsPassword = "NATS_PASSWORD_FILE"
	natsToken    = "NATS_TOKEN_FILE" //nolint:gosec // a name
	natsCA       = "NATS_CA"
	natsCert     = "NATS_CERT, NATS_KEY"
)

// Files are those of the credential and the certificates, which are read again at each
// connect.
func (c Config) Files() (all []reread.File) {
	for _, f := range []reread.File{
		{Setting: natsCreds, Paths: []string{c.Creds}, Check: checkCreds},
		{Setting: natsNKey, Paths: []string{c.NKey}, Check: checkSeed},
		{Setting: natsPassword, Paths: []string{c.PasswordFile}, Check: reread.IsSecret},
		{Setting: natsToken, Paths: []string{c.TokenFile}, Check: reread.IsSecret},
		{Setting: natsCA, Paths: []string{c.CA}, Check: checkAuthority},
		{Setting: natsCert, Paths: []string{c.Cert, c.Key}, Check: checkPair},
	} {
		if f.Paths[0] != "" {
			all = append(all, f)
		}
	}
	return all
}

func checkCreds(content []byte) error {
	_, err := nkeys.ParseDecoratedJWT(content)
	if err != nil || checkSeed(content) != nil {
		return errors.New("does not hold a NATS user's JWT and seed")
	}
	return nil
}

func checkSeed(content []byte) error {
	key, err := userKey(content)
	if err != nil {
		return errors.New("does not hold the seed of a NATS user's nkey")
	}
	key.Wipe()
	return nil
}

// userKey is the key of a seed, alone or among the lines of a file of credentials.
func userKey(content []byte) (nkeys.KeyPair, error) { return nkeys.ParseDecoratedUserNKey(content) }

func checkAuthority(content []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return errors.New("holds no PEM certificate")
	}
	return nil
}

func checkPair(content []byte) error {
	_, err := tls.X509KeyPair(content, content)
	return err
}
