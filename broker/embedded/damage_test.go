package embedded_test

import (
	"os"
	"path/filepath"
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
		says   string // empty for nothing
	}{
		"none":  {func(*testing.T, string) {}, ""},
		"index": {func(t *testing.T, msgs string) { overwrite(t, filepath.Join(msgs, "index.db"), 30) }, ""},
		"length": {func(t *testing.T, msgs string) {
			overwrite(t, filepath.Join(msgs, "1.blk"), 0)
		}, "corrupt record state"},
		"body and no index": {func(t *testing.T, msgs string) {
			overwrite(t, filepath.Join(msgs, "1.blk"), 2_500_000)
			remove(t, filepath.Join(msgs, "index.db"))
		}, "MAIL_SEND_NORMAL had 20 messages at the last stop"},
		"block removed": {func(t *testing.T, msgs string) { remove(t, filepath.Join(msgs, "1.blk")) }, "are missing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := natstest.Start(t)
			for range 20 {
				if _, err := b.Conn.JS().Publish(natstest.Within(t), normal.SendSubject(), make([]byte, 1<<20)); err != nil {
					t.Fatal(err)
				}
			}
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
				if c.says == "" && (len(kept) > 0 || strings.Contains(said, "level=ERROR")) || !strings.Contains(all, c.says) {
					t.Errorf("kept %s, said %s", all, said)
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

// TestKilledIsNoDamage: after a kill there is nothing to compare with, and the server's
// warnings of a stale index are no damage.
func TestKilledIsNoDamage(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	publish := func(n int) {
		for range n {
			if _, err := b.Conn.JS().Publish(natstest.Within(t), normal.SendSubject(), make([]byte, 1<<20)); err != nil {
				t.Fatal(err)
			}
		}
	}
	publish(20)
	b.Restart(t)
	s, err := b.Conn.JS().Stream(natstest.Within(t), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	for seq := range uint64(10) {
		if err := s.DeleteMsg(natstest.Within(t), seq+1); err != nil {
			t.Fatal(err)
		}
	}
	publish(1)
	cfg := b.Config
	cfg.DataDir, cfg.Listen = filepath.Join(t.TempDir(), "data"), "127.0.0.1:0"
	if err := os.CopyFS(cfg.DataDir, os.DirFS(b.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	var log embedded.Logged
	e, err := embedded.Start(natstest.Within(t), cfg, nil, log.Logger())
	if err != nil {
		t.Fatal(err)
	}
	natstest.Shutdown(t, e)
	if kept, err := broker.Damages(cfg.DataDir); len(kept) > 0 || err != nil || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("%v, %v: %s", kept, err, log.String())
	}
}
