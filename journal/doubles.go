package journal

import (
	"hash/maphash"

	"github.com/postrider/postrider/wire"
)

// doublesKept is how many entries are remembered at least: more than are written in an
// AckWait, after which a record is entered again if its worker has died.
const doublesKept = 250_000

// doubles remembers which entries were read. It keeps two sets, and forgets the older one
// once the newer one is full.
type doubles struct {
	seed          maphash.Seed
	newer, before map[uint64]struct{}
}

func newDoubles() *doubles { return &doubles{seed: maphash.MakeSeed(), newer: map[uint64]struct{}{}} }

// has reports that the entry of r was read before, and remembers it. record is the sequence
// of the record; an entry without one is no double.
func (d *doubles) has(record string, r *wire.Record) bool {
	if record == "" {
		return false
	}
	x := maphash.Comparable(d.seed, struct {
		key    wire.Key
		record string
	}{r.Key(), record})
	_, newer := d.newer[x]
	_, before := d.before[x]
	if len(d.newer) == doublesKept {
		d.newer, d.before = map[uint64]struct{}{}, d.newer
	}
	d.newer[x] = struct{}{}
	return newer || before
}
