package doctor

import (
	"os"
	"strings"
	"testing"

	"github.com/postrider/postrider/broker"
)

// TestDamage: what a broker kept of its damage is shown until the file is removed.
func TestDamage(t *testing.T) {
	t.Parallel()
	b := embedded(t)
	dir := b.p.Broker.DataDir
	for _, found := range []string{"a stream is gone", "a block is gone", "a block is gone"} {
		b.must(broker.KeepDamage(dir, found))
	}
	if all := Damage(dir); len(all) != 2 || all[1].Level != Problem || !strings.Contains(all[1].Found, "a block is gone") {
		t.Errorf("%+v", all)
	}
	b.want(Problem, "store", "a stream is gone")
	b.must(os.Remove(broker.DamageFile(dir)))
	if all := Damage(dir); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}
