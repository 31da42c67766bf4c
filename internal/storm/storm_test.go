package storm

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// root is the module's, from here.
var root = filepath.Join("..", "..")

// build builds the programs; tags change the order of settling.
func build(t *testing.T, tags string) string {
	t.Helper()
	dir := t.TempDir()
	if err := Build(root, dir, tags, "./cmd/worker", "./internal/smtptest/relay"); err != nil {
		t.Fatal(err)
	}
	return dir
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
		Bin: build(t, ""), Mails: stormMails, Workers: 4, For: stormFor, KillEvery: time.Second,
		BrokerKills: stormBrokerKills, RelayKills: stormRelayKills, Drained: 5 * time.Minute,
	})
	for name, keys := range map[string][]Key{"lost": r.Lost, "sent twice and not open at a fault": r.Unexplained, "dead though delivered": r.Both} {
		if len(keys) > 0 {
			t.Errorf("%d %s: %v", len(keys), name, keys[:min(len(keys), 20)])
		}
	}
}

// TestBrokenOrderLoses proves the checker: where the order of settling is wrong
// the same storm loses mail.
func TestBrokenOrderLoses(t *testing.T) {
	for _, tag := range []string{"broken_ack_first", "broken_copy_last"} {
		t.Run(tag, func(t *testing.T) {
			r := rage(t, Config{
				Bin: build(t, tag), Mails: brokenMails, Workers: 4, For: brokenFor, KillEvery: brokenEvery, Drained: time.Minute,
			})
			if len(r.Lost) == 0 {
				t.Error("nothing is lost: the checker sees nothing")
			}
		})
	}
}
