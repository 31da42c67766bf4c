package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
)

// imageCheck is the health check of the image: its program and arguments.
func imageCheck(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	m := regexp.MustCompile(`(?m)^HEALTHCHECK .*CMD (\[.*\])$`).FindSubmatch(b)
	if m == nil || json.Unmarshal(m[1], &args) != nil || len(args) < 2 || args[0] != "postrider" {
		t.Fatalf("the image, which has no shell, has no health check that it can run: %q", m)
	}
	return args[1:]
}

// TestHealthcheck: the image asks its own worker, and a person who opens the admin
// port finds out what is there.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	check := imageCheck(t)
	admin := freeport.Addr()
	_, port, _ := strings.Cut(admin, ":")
	env := []string{
		"POSTRIDER_ADMIN=:" + port, "NATS_LISTEN=" + freeport.Addr(), "POSTRIDER_DATA_DIR=" + filepath.Join(t.TempDir(), "data"), "HTTP_PROXY=http://127.0.0.1:9",
	}
	if status, _, stderr := postrider(t, env, check...); status != exitNothing || !strings.HasPrefix(stderr, "postrider: no worker answers at POSTRIDER_ADMIN: ") {
		t.Fatalf("before it starts: %d %s", status, stderr)
	}
	ctx, stop := context.WithCancel(natstest.Within(t))
	var out, errs bytes.Buffer
	ended := make(chan int)
	go func() { ended <- run(ctx, []string{"worker"}, env, nil, &out, &errs) }()
	testrun.Eventually(t, "it is healthy", natstest.Timeout, func() bool {
		status, stdout, _ := postrider(t, env, check...)
		return status == cli.OK && stdout == "ok\n"
	})
	for page, want := range map[string]string{"/": `href="/metrics"`, "/healthz": "ok\n", "/livez": "ok\n"} {
		r, err := http.Get("http://" + admin + page)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		_ = r.Body.Close()
		if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s: %s, %v: %s", page, r.Status, err, b)
		}
	}
	if r, err := http.Get("http://" + admin + "/nosuch"); err != nil || r.StatusCode != http.StatusNotFound {
		t.Errorf("/nosuch: %v, %v", r, err)
	} else {
		_ = r.Body.Close()
	}
	// A server that is stopped while it makes a stream leaves goroutines behind.
	testrun.Eventually(t, "it is ready", natstest.Timeout, func() bool {
		r, err := http.Get("http://" + admin + "/readyz")
		return err == nil && r.Body.Close() == nil && r.StatusCode == http.StatusOK
	})
	stop()
	if status := <-ended; status != cli.OK {
		t.Errorf("the worker ended with %d: %s", status, errs.String())
	}
	for setting, want := range map[string]string{"POSTRIDER_ADMIN=127.0.0.1:0": "set a port", "POSTRIDER_ADMIN=nonsense": "is not host:port"} {
		if status, _, stderr := postrider(t, []string{setting}, check...); status != exitNothing || !strings.Contains(stderr, want) {
			t.Errorf("%s: %d %s", setting, status, stderr)
		}
	}
}
