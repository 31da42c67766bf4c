package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/nats-io/nkeys"

	"github.com/postrider/postrider/broker"
)

// ensureKeys reads both credentials, and makes them if they are missing.
func (e *Server) ensureKeys() (err error) {
	if e.operator, err = ensureKey(e.OperatorFile()); err != nil {
		return err
	}
	e.producer, err = ensureKey(e.ProducerFile())
	return err
}

// ensureKey gives the public key of the seed in the file. If there is no file,
// it makes a key. A file that is there keeps the mode that its owner gave it.
//
// The server itself never holds a seed: it knows the public keys.
func ensureKey(path string) (string, error) {
	pub, err := broker.PublicKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return pub, err
	}
	kp, err := nkeys.CreateUser()
	if err != nil {
		return "", fmt.Errorf("make a key for %s: %w", path, err)
	}
	defer kp.Wipe()
	seed, err := kp.Seed()
	if err != nil {
		return "", fmt.Errorf("make a key for %s: %w", path, err)
	}
	if err := writeSecret(path, append(seed, '\n')); err != nil {
		return "", fmt.Errorf("write credentials: %w", err)
	}
	return kp.PublicKey()
}

// writeSecret makes a complete file of mode 0600 or none.
func writeSecret(path string, b []byte) error {
	// CreateTemp makes files of mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
