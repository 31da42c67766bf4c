package storm

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// root is the module's, from here.
var root = filepath.Join("..", "..")

// The workers that a storm may run: as it is shipped, or one that breaks a rule, as
// POSTRIDER_TEST_MUTANT says.
const (
	worker = "./cmd/worker"
	mutant = "./internal/storm/mutant"
)

// build builds a worker and the relay into a directory; flags are go build's.
func build(t *testing.T, program string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := Build(root, filepath.Join(dir, "worker"), flags, program); err != nil {
		t.Fatal(err)
	}
	if err := Build(root, dir, flags, "./internal/smtptest/relay"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// buildNewer builds the worker of a later version.
func buildNewer(t *testing.T) string {
	t.Helper()
	overlay, err := Newer(root, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return build(t, worker, "-overlay="+overlay)
}

func rage(t *testing.T, cfg Config) *Report {
	t.Helper()
	cfg.Dir = t.TempDir()
	if keep := os.Getenv("STORM_DIR"); keep != "" {
		cfg.Dir = keep // for a look at what the programs said
	}
	cfg.Log = t.Logf
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r)
	return r
}

// TestKillStorm kills workers, the broker and the relay under load.
func TestKillStorm(t *testing.T) {
	r := rage(t, Config{
		Bin: build(t, worker), Mails: stormMails, Workers: 4, For: stormFor, KillEvery: time.Second,
		BrokerKills: stormBrokerKills, RelayKills: stormRelayKills, Drained: 5 * time.Minute,
	})
	for name, keys := range map[string][]Key{"lost": r.Lost, "sent twice and not open at a fault": r.Unexplained, "dead though delivered": r.Both} {
		if len(keys) > 0 {
			t.Errorf("%d %s: %v", len(keys), name, keys[:min(len(keys), 20)])
		}
	}
}

// TestBrokenOrderLoses proves the checker: if the order of settling is wrong
// the same storm loses mail.
func TestBrokenOrderLoses(t *testing.T) {
	for _, name := range []string{"ack-first", "copy-last"} {
		t.Run(name, func(t *testing.T) {
			r := rage(t, Config{
				Bin: build(t, mutant), Env: []string{"POSTRIDER_TEST_MUTANT=" + name}, Mails: brokenMails, Workers: 4, For: brokenFor, KillEvery: brokenEvery, Drained: time.Minute,
			})
			if len(r.Lost) == 0 {
				t.Error("nothing is lost: the checker sees nothing")
			}
		})
	}
}
