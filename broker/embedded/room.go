package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
)

// spare is what the limit stays above the reserved bytes, so that a stream
// without a reservation can still be added.
const spare = 1 << 20

// storeLimit is how many bytes the broker may store: 70 % of what its disk could
// hold of mail, because on a full disk writes fail without an error. It is never
// below what its streams have reserved.
func storeLimit(free, stored, reserved uint64) uint64 {
	return max((free+stored)/10*7, reserved+spare)
}

// storedBytes is the size of the files below dir; 0 if there is no dir.
func storedBytes(dir string) (uint64, error) {
	var sum uint64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // no dir, or a file that was removed after it was listed
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if fi, err := d.Info(); err == nil {
			sum += uint64(fi.Size())
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("measure the mail in %s: %w", dir, err)
	}
	return sum, nil
}
