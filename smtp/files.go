package smtp

import (
	"crypto/x509"
	"errors"

	"github.com/postrider/postrider/internal/reread"
)

// Files are those of the password and the certificates, which each new session reads
// again.
func (c Config) Files() (all []reread.File) {
	if c.PasswordFile != "" {
		all = append(all, c.password())
	}
	if c.CAFile != "" {
		all = append(all, c.authorities())
	}
	return all
}

func (c Config) password() reread.File {
	return reread.File{Setting: "SMTP_PASSWORD_FILE", Paths: []string{c.PasswordFile}, Check: reread.IsSecret}
}

func (c Config) authorities() reread.File {
	return reread.File{Setting: "SMTP_CA_FILE", Paths: []string{c.CAFile}, Check: checkAuthorities}
}

func checkAuthorities(content []byte) error {
	if !x509.NewCertPool().AppendCertsFromPEM(content) {
		return errors.New("holds no PEM certificate")
	}
	return nil
}

// rootsWith are the system's certificates and those.
func rootsWith(content []byte) *x509.CertPool {
	pool, err := x509.SystemCertPool()
	if err != nil {
		// The machine has no certificates of its own: only the file counts.
		pool = x509.NewCertPool()
	}
	pool.AppendCertsFromPEM(content)
	return pool
}
