package embedded_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/broker/embedded"
	"github.com/postrider/postrider/internal/natstest"
)

// TestDamageIsSaid: what the server skips or cuts off when it reads the store is an
// error, and is kept for postrider status; what it makes anew is neither.
func TestDamageIsSaid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, msgs string)
		says   []string // none for nothing
	}{
		"none":  {func(*testing.T, string) {}, nil},
		"index": {func(t *testing.T, msgs string) { overwrite(t, filepath.Join(msgs, "index.db"), 30) }, nil},
		"length": {func(t *testing.T, msgs string) {
			overwrite(t, filepath.Join(msgs, "1.blk"), 0)
		}, []string{"corrupt record state"}},
		"body and no index": {func(t *testing.T, msgs string) {
			overwrite(t, filepath.Join(msgs, "1.blk"), 2_500_000)
			remove(t, filepath.Join(msgs, "index.db"))
		}, []string{"MAIL_SEND_NORMAL had 20 messages at the last stop"}},
		"block removed": {func(t *testing.T, msgs string) {
			remove(t, filepath.Join(msgs, "1.blk"))
		}, []string{"could not locate msg block 1", "are missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			publish(t, b.Conn, threeBlocks)
			cfg := b.Config
			natstest.Shutdown(t, b.Embedded)
			c.damage(t, filepath.Join(cfg.DataDir, "jetstream", "MAIL", "streams", normal.SendStream(), "msgs"))
			cfg.Listen = "127.0.0.1:0"
			for range 2 { // it is kept, and said once
				var log embedded.Logged
				e, err := embedded.Start(natstest.Within(t), cfg, nil, log.Logger())
				if err != nil {
					t.Fatal(err)
				}
				natstest.Shutdown(t, e)
				kept, err := broker.Damages(cfg.DataDir)
				if err != nil {
					t.Fatal(err)
				}
				said, all := log.String(), ""
				for _, d := range kept {
					all += d.Found + "\n"
				}
				if c.says == nil && (len(kept) > 0 || strings.Contains(said, "level=ERROR")) {
					t.Errorf("kept %s, said %s", all, said)
				}
				for _, says := range c.says {
					if !strings.Contains(all, says) {
						t.Errorf("kept %s, not %s", all, says)
					}
				}
			}
		})
	}
}

func overwrite(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte{1, 2, 3, 4}, at); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// TestKilled: after a kill there is nothing to compare with, and the index is older than
// the blocks. What the server warns of then is no damage, unless the last block is gone.
func TestKilled(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after uint64 // how many are settled before and after the index is written
		fresh         int    // published after it
		damage        func(t *testing.T, last string)
		warns         string // what the server says, damage or not
		damaged       bool
	}{
		"nothing settled":             {fresh: 1, warns: "last block has additional entries"},
		"some settled":                {after: threeBlocks / 2, fresh: 1, warns: "prior state file"},
		"all settled":                 {after: threeBlocks, fresh: 1, warns: "could not locate msg block"},
		"the last of a block settled": {before: perBlock - 1, after: 1, warns: "could not locate msg block"},
		"while it wrote":              {fresh: 1, damage: tear, warns: "last block has additional entries"},
		"its last block removed":      {fresh: 1, damage: remove, warns: "could not locate msg block", damaged: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			publish(t, b.Conn, threeBlocks)
			settle(t, b.Conn, 0, c.before)
			b.Restart(t) // writes the index; the next one would come in two minutes
			settle(t, b.Conn, c.before, c.after)
			publish(t, b.Conn, c.fresh)
			cfg := b.Config
			cfg.DataDir, cfg.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
			if err := os.CopyFS(cfg.DataDir, os.DirFS(b.Config.DataDir)); err != nil {
				t.Fatal(err)
			}
			if c.damage != nil {
				c.damage(t, lastBlock(t, cfg.DataDir))
			}
			var log embedded.Logged
			e, err := embedded.Start(natstest.Within(t), cfg, nil, log.Logger())
			if err != nil {
				t.Fatal(err)
			}
			left := messages(t, e)
			natstest.Shutdown(t, e)
			kept, err := broker.Damages(cfg.DataDir)
			said := log.String()
			if err != nil || c.damaged != (len(kept) > 0) || c.damaged != strings.Contains(said, "level=ERROR") || !strings.Contains(said, c.warns) {
				t.Errorf("%v, %v: %s", kept, err, said)
			}
			if want := threeBlocks - c.before - c.after + uint64(c.fresh); !c.damaged && left != want {
				t.Errorf("%d messages are left of %d", left, want)
			}
		})
	}
}

// threeBlocks is how many mails of [publish] begin a third block.
const perBlock, threeBlocks = 7, 20

func publish(t *testing.T, c *broker.Conn, n int) {
	t.Helper()
	for range n {
		if _, err := c.JS().Publish(natstest.Within(t), normal.SendSubject(), make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
}

// settle removes n messages after that sequence.
func settle(t *testing.T, c *broker.Conn, after, n uint64) {
	t.Helper()
	s, err := c.JS().Stream(natstest.Within(t), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if err := s.DeleteMsg(natstest.Within(t), after+i+1); err != nil {
			t.Fatal(err)
		}
	}
}

func messages(t *testing.T, e *embedded.Server) uint64 {
	t.Helper()
	c, err := e.Connect(natstest.Within(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.JS().Stream(natstest.Within(t), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

// lastBlock is the path of the lane's last one.
func lastBlock(t *testing.T, dir string) string {
	t.Helper()
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "MAIL", "streams", normal.SendStream(), "msgs", "*.blk"))
	if err != nil || len(blocks) == 0 {
		t.Fatal(blocks, err)
	}
	return slices.Max(blocks)
}

// tear adds the beginning of a record.
func tear(t *testing.T, block string) {
	t.Helper()
	b, err := os.ReadFile(block)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(block, append(b, b[:1000]...), 0o600); err != nil {
		t.Fatal(err)
	}
}
