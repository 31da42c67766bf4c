package storm

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
)

// TestPowerCut: the store lies on an image that is copied while everything is at
// work, and is started elsewhere. What the page cache of the store's file system
// held is not in the copy, as after a power cut; that file system does not commit
// by itself. The copy shares the image's blocks, so that it is of one moment,
// also in the middle of a commit: read block by block, it would hold some from
// before a commit and some from behind it. The broker's process stands still
// from just before, so that it acknowledges nothing that is not in the copy.
func TestPowerCut(t *testing.T) {
	testrun.Beside(t)
	r := cutPower(t, build(t, worker), powerCuts)
	none(t, "lost", r.Lost)
	none(t, "dead though delivered", r.Both)
	// Two workers of ten sessions each were at work at each cut.
	if len(r.Twice) > powerCuts*20 {
		t.Errorf("%d sent twice, at most %d can have been in the window", len(r.Twice), powerCuts*20)
	}
}

// TestPowerCutUnsynced proves it: without synced writes the same loses mail.
func TestPowerCutUnsynced(t *testing.T) {
	testrun.Beside(t)
	if r := cutPower(t, build(t, mutant), 1, "TEST_MUTANT=unsynced"); len(r.Lost) == 0 {
		t.Error("nothing is lost without synced writes: the test sees nothing")
	}
}

func cutPower(t *testing.T, bin string, cuts int, env ...string) *Report {
	t.Helper()
	disks := mount(t, "-o", "loop", image(t, t.TempDir(), "xfs", 4<<30))
	disk := image(t, disks, "ext4", 256<<20)
	data := mount(t, "-o", "loop,commit=600", disk)
	s := begin(t, Config{Bin: bin, Workers: 1, Drained: time.Minute, Env: append(env, "POSTRIDER_LANES=normal=1", "POSTRIDER_DATA_DIR="+filepath.Join(data, "data"))})
	p := s.producer(8)
	p.Every = 20 * time.Millisecond
	publishing, enough := context.WithCancel(t.Context())
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(publishing, 1<<30, MixedMail) }()
	for i := range cuts {
		stream.Pause(t.Context(), 4*time.Second) // mail of every kind is under way
		if err := s.broker.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		f := Fault{From: time.Now()}
		next := filepath.Join(disks, fmt.Sprint(i))
		if out, err := exec.CommandContext(t.Context(), "cp", "--reflink=always", disk, next).CombinedOutput(); err != nil {
			t.Fatalf("copy the image: %v: %s", err, out)
		}
		disk = next
		if err := s.broker.End(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.kills++
		data = mount(t, "-o", "loop,commit=600", disk)
		s.env = append(s.env, "POSTRIDER_DATA_DIR="+filepath.Join(data, "data"))
		if err := s.startBroker(); err != nil {
			t.Fatal(err)
		}
		f.To = time.Now().Add(settle)
		s.faults = append(s.faults, f)
	}
	stream.Pause(t.Context(), 2*time.Second)
	enough()
	<-published
	return s.settled(t, p)
}
