package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ownSeed is the file of the credential in DATA_DIR, where the broker to be
// dialed is the one that wrote it; empty where it is none of ours. It asks the
// broker for its name first: to any other a key it does not know would be an
// offence.
//
// On loopback an embedded broker takes whoever has no credential for a
// producer, and answers no question of the queue's. Whoever wants more is told
// here, and does not wait for an answer.
func (c Config) ownSeed(ctx context.Context) (string, error) {
	urls, _ := c.servers()
	ours, unread := publicKey(filepath.Join(c.DataDir, operatorFile))
	if unread != nil && (c.Role == Publisher || !isLoopback(urls[0].Host)) {
		return "", nil
	}
	g, _ := probe(ctx, urls[0].Host)
	owner, embedded := ownerOf(g.Name)
	switch {
	case embedded && unread == nil && owner == ours && c.Role == Publisher:
		return filepath.Join(c.DataDir, producerFile), nil
	case embedded && unread == nil && owner == ours:
		return filepath.Join(c.DataDir, operatorFile), nil
	case embedded && c.Role != Publisher:
		return "", fmt.Errorf("only its operator sees the queue of a worker's own broker, and the credential is looked for in %s, %s: set DATA_DIR to the directory of that worker, or NATS_URL to another broker", c.dir(), c.lacks(unread))
	}
	return "", nil
}

// lacks is what is wrong with DATA_DIR, whose credential could be read but for
// unread.
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
	return "where it cannot be read (" + unread.Error() + ")"
}

// neverHere says that no worker has kept mail in DATA_DIR, as where a command
// is typed in another directory than the worker's.
func (c Config) neverHere() string {
	if _, err := os.Stat(filepath.Join(c.DataDir, operatorFile)); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return fmt.Sprintf(" (none has kept mail in %s, which DATA_DIR names)", c.dir())
}

// dir is DATA_DIR as it is found from anywhere.
func (c Config) dir() string {
	if dir, err := filepath.Abs(c.DataDir); err == nil {
		return dir
	}
	return c.DataDir
}
