package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"
)

// The embedded broker's credentials in DATA_DIR: seeds of nkeys, so that the
// server itself never holds a secret.
const (
	operatorFile = "operator.nk"
	producerFile = "producer.nk"
)

// serverName ties a broker to the directory it keeps its mail in: it says the
// public half of the operator's key to whoever connects, and whether mail is on
// the disk when it answers.
func serverName(operator string, synced bool) string {
	if !synced {
		return unsyncedPrefix + operator
	}
	return namePrefix + operator
}

const (
	namePrefix     = "postrider-"
	unsyncedPrefix = "postrider-unsynced-"
)

// embeddedName reads what [serverName] wrote; a server that somebody else
// named is not embedded.
func embeddedName(name string) (synced, embedded bool) {
	_, embedded = ownerOf(name)
	return embedded && !strings.HasPrefix(name, unsyncedPrefix), embedded
}

// ownerOf is the operator's public key in the name of an embedded broker.
func ownerOf(name string) (operator string, ok bool) {
	rest, ok := strings.CutPrefix(name, unsyncedPrefix)
	if !ok {
		rest, ok = strings.CutPrefix(name, namePrefix)
	}
	return rest, ok && nkeys.IsValidPublicUserKey(rest)
}

// ensureKey gives the public key of the seed in the file, and makes both where
// there is no file. A file that is there keeps the mode its owner gave it.
func ensureKey(path string) (string, error) {
	pub, err := publicKey(path)
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

// publicKey reads a seed file.
func publicKey(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read credentials: %w", err)
	}
	kp, err := nkeys.FromSeed(bytes.TrimSpace(b))
	if err != nil {
		return "", fmt.Errorf("read credentials: %s does not hold the seed of an nkey; remove it to have a new one made: %w", path, err)
	}
	defer kp.Wipe()
	return kp.PublicKey()
}

// writeSecret makes a whole file of mode 0600 or none.
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
