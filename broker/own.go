package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ownSeed is the file of the credential in POSTRIDER_DATA_DIR, if the broker at NATS_URL
// is the embedded one that wrote it; empty if it is another broker. It asks the
// broker for its name first, because a server disconnects a client that shows a
// key it does not know.
//
// On loopback an embedded broker takes every client without a credential for a
// producer, and does not answer questions about the queue. A client that needs
// more gets an error here instead of waiting for an answer.
func (c Config) ownSeed(ctx context.Context) (string, error) {
	urls, _ := c.servers()
	ours, unread := PublicKey(OperatorFile(c.DataDir))
	if unread != nil && (c.Role == Publisher || !IsLoopback(urls[0].Host)) {
		return "", nil
	}
	g, _ := Probe(ctx, urls[0].Host)
	owner, embedded := ownerOf(g.Name)
	switch {
	case embedded && unread == nil && owner == ours && c.Role == Publisher:
		return ProducerFile(c.DataDir), nil
	case embedded && unread == nil && owner == ours:
		return OperatorFile(c.DataDir), nil
	case embedded && c.Role != Publisher:
		return "", fmt.Errorf("only its operator can see the queue of a worker's embedded broker, and the credential is looked for in %s, %s: set POSTRIDER_DATA_DIR to the directory of that worker, or NATS_URL to another broker", c.dir(), c.lacks(unread))
	}
	return "", nil
}

// owns reports that POSTRIDER_DATA_DIR is the directory of the embedded broker of that
// name.
func (c Config) owns(server string) bool {
	owner, embedded := ownerOf(server)
	ours, err := PublicKey(OperatorFile(c.DataDir))
	return embedded && err == nil && owner == ours
}

// lacks says what is wrong with POSTRIDER_DATA_DIR. unread is why its credential cannot be
// read; nil if it can.
func (c Config) lacks(unread error) string {
	_, gone := os.Stat(c.DataDir)
	switch {
	case unread == nil:
		return "which has another broker's"
	case errors.Is(gone, fs.ErrNotExist):
		return "which does not exist"
	case errors.Is(unread, fs.ErrNotExist):
		return "which has none"
	}
	return "which cannot be read (" + unread.Error() + ")"
}

// kept says where a worker has kept mail; or that none has, as happens if a command is run
// in another directory than the worker.
func (c Config) kept() string {
	if _, err := os.Stat(OperatorFile(c.DataDir)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("; the worker's mail is kept in %s (POSTRIDER_DATA_DIR)", c.dir())
	}
	return fmt.Sprintf(", and no worker has kept mail in %s (POSTRIDER_DATA_DIR)", c.dir())
}

// dir is POSTRIDER_DATA_DIR as an absolute path.
func (c Config) dir() string {
	if dir, err := filepath.Abs(c.DataDir); err == nil {
		return dir
	}
	return c.DataDir
}
