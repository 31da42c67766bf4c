package broker

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nats-io/nkeys"
)

// OperatorFile is the file in a POSTRIDER_DATA_DIR that holds the seed of the nkey that
// may do everything with the mail of the embedded broker there.
func OperatorFile(dataDir string) string { return filepath.Join(dataDir, "operator.nk") }

// ProducerFile is the file in a POSTRIDER_DATA_DIR that holds the seed of the nkey that
// may publish to the lanes of the embedded broker there.
func ProducerFile(dataDir string) string { return filepath.Join(dataDir, "producer.nk") }

// PublicKey is the public key of the seed in a file. It fails with
// [io/fs.ErrNotExist] if there is no file.
func PublicKey(path string) (string, error) {
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

const namePrefix = "postrider-"

// ServerName is the name of an embedded broker. It ties the broker to the
// directory with its mail: a client learns from it the public half of the
// operator's key, and that writes are synced before they are acknowledged.
func ServerName(operator string) string { return namePrefix + operator }

// ownerOf is the operator's public key in a [ServerName]. A server with any other
// name is not embedded.
func ownerOf(name string) (operator string, embedded bool) {
	operator, ok := strings.CutPrefix(name, namePrefix)
	return operator, ok && nkeys.IsValidPublicUserKey(operator)
}

// IsEmbedded reports that a server of that name is part of a worker.
func IsEmbedded(name string) bool {
	_, embedded := ownerOf(name)
	return embedded
}
