package embedded_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/natstest"
)

// TestUnwrittenStream: a stream that was stopped before it was ever written to, was then
// filled, and was cut off by a power failure has all of its mail, also if the file system
// left zero bytes at the end of its file.
func TestUnwrittenStream(t *testing.T) {
	t.Parallel()
	b := natstest.Start(t)
	b.Restart(t)
	const mails = 3
	for range mails {
		if _, err := b.Conn.JS().Publish(natstest.Within(t), normal.SendSubject(), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	cut := t.TempDir()
	if err := os.CopyFS(cut, os.DirFS(b.Config.DataDir)); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cut, "jetstream", "*", "streams", normal.SendStream(), "msgs", "*.blk"))
	if err != nil || len(files) != 1 {
		t.Fatalf("blocks %v, %v", files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 8)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	cfg := natstest.EmbeddedConfig(t)
	cfg.DataDir = cut
	cfg.Role = broker.Operator
	_, c := natstest.StartEmbedded(t, cfg, normal)
	s, err := c.JS().Stream(natstest.Within(t), normal.SendStream())
	if err != nil {
		t.Fatal(err)
	}
	if n := s.CachedInfo().State.Msgs; n != mails {
		t.Errorf("%d of %d mails are left", n, mails)
	}
}
