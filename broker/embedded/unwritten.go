package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// unwritten are the directories of the streams that were never written to.
func unwritten(e *Server) (dirs []string) {
	for name, state := range e.states() {
		if state.LastSeq == 0 {
			dirs = append(dirs, filepath.Join(e.streamsDir(), name, "msgs"))
		}
	}
	return dirs
}

// forgetIndexes removes, once the server has ended, the indexes of streams that were
// never written to. Such an index has a checksum of zero bytes. If the stream is then
// filled, and a power failure leaves zero bytes at the end of its file, the server takes
// the index for up to date and the stream for empty (nats-server 2.15.2). Without an
// index it reads the file.
func forgetIndexes(dirs []string) error {
	for _, dir := range dirs {
		blocks, err := storedBytes(dir)
		if err != nil {
			return err
		}
		index := filepath.Join(dir, "index.db")
		fi, err := os.Stat(index)
		if errors.Is(err, fs.ErrNotExist) || err == nil && uint64(fi.Size()) != blocks {
			continue // there is more than the index: it was written to meanwhile
		}
		if err == nil {
			err = os.Remove(index)
		}
		if err != nil {
			return fmt.Errorf("remove the index of an empty stream: %w", err)
		}
	}
	return nil
}
