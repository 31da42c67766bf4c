package storm

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
)

// root is the module's, from here.
var root = filepath.Join("..", "..")

// The workers that a storm may run: as it is shipped, or one that breaks a rule, as
// TEST_MUTANT says.
const (
	worker = "./cmd/worker"
	mutant = "./internal/storm/mutant"
)

// The programs of this run: the directory in which they are built, and in built
// the directory of each kind.
var (
	programs string
	building sync.Mutex
	built    = map[string]string{}
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if programs, err = os.MkdirTemp("", "storm"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(programs)
		testrun.OnAbort(func() { _ = os.RemoveAll(programs) })
		return testrun.Tests{M: m, AtOnce: 3}.Run()
	}())
}

// build builds a worker and the relay, once, and gives their directory; flags
// are go build's.
func build(t *testing.T, program string, flags ...string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	kind := strings.Join(append(flags, program), " ")
	if dir, ok := built[kind]; ok {
		return dir
	}
	dir := filepath.Join(programs, strconv.Itoa(len(built)))
	if err := Build(root, filepath.Join(dir, "worker"), flags, program); err != nil {
		t.Fatal(err)
	}
	if err := Build(root, dir, flags, "./internal/smtptest/relay"); err != nil {
		t.Fatal(err)
	}
	built[kind] = dir
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
	testrun.Beside(t)
	r := rage(t, Config{
		Bin: build(t, worker), Mails: stormMails, Workers: 4, For: stormFor, KillEvery: time.Second,
		BrokerKills: stormBrokerKills, RelayKills: stormRelayKills, Drained: 5 * time.Minute,
	})
	for name, keys := range map[string][]Key{"lost": r.Lost, "sent twice, which no fault explains": r.Unexplained, "dead though delivered": r.Both} {
		if len(keys) > 0 {
			t.Errorf("%d %s: %v", len(keys), name, keys[:min(len(keys), 20)])
		}
	}
}

// TestBrokenOrderLoses proves the checker: if the order of settling is wrong
// the same storm loses mail. Few kills hit the moment in which it is; one storm in three
// does.
func TestBrokenOrderLoses(t *testing.T) {
	testrun.Beside(t)
	for _, name := range []string{"ack-first", "copy-last"} {
		t.Run(name, func(t *testing.T) {
			for range 3 {
				r := rage(t, Config{
					Bin: build(t, mutant), Env: []string{"TEST_MUTANT=" + name}, Mails: brokenMails, Workers: 4, For: brokenFor, KillEvery: brokenEvery, Drained: time.Minute,
				})
				if len(r.Lost) > 0 {
					return
				}
			}
			t.Error("nothing is lost: the checker sees nothing")
		})
	}
}
