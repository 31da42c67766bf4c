package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
)

// TestStory tells what a newcomer and an operator go through, in
// testdata/story/*.txtar, with the programs as built. $BROKER and $OTHER are
// addresses to listen on, again and again; on $NOBODY nobody does.
func TestStory(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "story"),
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", bin+string(os.PathListSeparator)+e.Getenv("PATH"))
			for _, name := range []string{"BROKER", "OTHER", "NOBODY"} {
				e.Setenv(name, freeport.Addr())
			}
			running := map[string]*storm.Process{}
			e.Values["running"] = running
			e.Defer(func() {
				for _, p := range running {
					_ = p.End(syscall.SIGKILL)
				}
			})
			if !free("127.0.0.1:4222") || !free("127.0.0.1:8026") {
				t.Log("ports 4222 or 8026 are taken: the stories set NATS_LISTEN and POSTRIDER_ADMIN")
				e.Setenv("NATS_LISTEN", e.Getenv("BROKER"))
				e.Setenv("POSTRIDER_ADMIN", "127.0.0.1:0")
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": scriptStart, "halt": scriptStop(syscall.SIGTERM), "crash": scriptStop(syscall.SIGKILL),
			"await": scriptAwait, "capture": scriptCapture, "status": scriptStatus,
		},
	})
}

// passed are the variables of a story that its programs see.
var passed = []string{
	"PATH", "HOME", "NATS_URL", "NATS_LISTEN", "POSTRIDER_ADMIN", "SMTP_URL", "SMTP_USERNAME", "SMTP_PASSWORD",
	"POSTRIDER_ACK_WAIT", "POSTRIDER_RETRY_AFTER", "POSTRIDER_MAX_ATTEMPTS", "POSTRIDER_LOG_FORMAT", "POSTRIDER_DATA_DIR",
}

func scriptRunning(ts *testscript.TestScript) map[string]*storm.Process {
	return ts.Value("running").(map[string]*storm.Process)
}

// scriptStart: start NAME PROGRAM ARGS… — its output is in NAME.Out and NAME.err.
func scriptStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME PROGRAM ARGS...")
	}
	var env []string
	for _, name := range passed {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	p, err := storm.Start(args[0], ts.Getenv("WORK"), env, filepath.Join(bin, args[1]), args[2:]...)
	ts.Check(err)
	scriptRunning(ts)[args[0]] = p
}

// scriptStop: halt NAME, crash NAME — and wait for its end.
func scriptStop(sig syscall.Signal) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg || len(args) != 1 || scriptRunning(ts)[args[0]] == nil {
			ts.Fatalf("usage: halt NAME")
		}
		p := scriptRunning(ts)[args[0]]
		delete(scriptRunning(ts), args[0])
		ts.Check(p.End(sig))
		if code := p.Cmd.ProcessState.ExitCode(); sig == syscall.SIGTERM && code != 0 {
			ts.Fatalf("%s ended with %d:\n%s", args[0], code, ts.ReadFile(args[0]+".err"))
		}
	}
}

// scriptAwait: await FILE PATTERN — until the file matches.
func scriptAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: await FILE PATTERN")
	}
	_, err := storm.Await(ts.MkAbs(args[0]), args[1], 30*time.Second)
	ts.Check(err)
}

// scriptCapture: capture NAME FILE PATTERN — the pattern's group becomes $NAME.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: capture NAME FILE PATTERN")
	}
	m, err := storm.Await(ts.MkAbs(args[1]), args[2], 30*time.Second)
	ts.Check(err)
	ts.Setenv(args[0], m[1])
}

// scriptStatus: status N PROGRAM ARGS… — runs it and checks how it exits.
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N PROGRAM ARGS...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("%s ended with %d, want %s", args[1], got, args[0])
	}
}
