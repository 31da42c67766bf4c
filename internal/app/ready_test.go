package app

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/internal/testrun"
)

// probe asks for a path; the answer must not wait for the broker.
func probe(t *testing.T, w *Worker, path string) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := client.Get("http://" + w.admin.addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

// TestNotReadyWithoutQuorum: with one of three servers the worker is connected, and
// nothing can be stored. It says so, lives on, and is ready again with two.
func TestNotReadyWithoutQuorum(t *testing.T) {
	t.Parallel()
	c := natstest.StartCluster(t, time.Minute, "normal")
	var out output
	w := New(settingsFor(t, "NATS_URL="+c.Config.URL, "SMTP_URL=smtp://"+freeport.Addr()+"?tls=none", "POSTRIDER_LANES=normal=1"), &out, &out)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(t.Context()) }()
	testrun.Eventually(t, "it starts", 30*time.Second, func() bool { return strings.Contains(out.String(), "worker started") }, out.String)
	if status, body := probe(t, w, "/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("%d %q", status, body)
	}
	kept := c.Leader("MAIL_RECORD") // the one that knows least of what it has lost
	for i := range 3 {
		if i != kept {
			c.Stop(i)
		}
	}
	const want = "not ready: the NATS cluster has no leader or quorum: 1 of the 3 servers with MAIL_RECORD seem to be online; more than half must be, and elect a leader\n"
	body := "" // at first it is not connected
	testrun.Eventually(t, "it says why it is not ready", 20*time.Second, func() bool {
		status, said := probe(t, w, "/readyz")
		body = said
		return status == http.StatusServiceUnavailable && body == want
	}, func() string { return body }, out.String)
	if status, _ := probe(t, w, "/livez"); status != http.StatusOK {
		t.Errorf("/livez: %d", status)
	}
	c.Start(t, (kept+1)%3)
	testrun.Eventually(t, "it is ready again", 30*time.Second, func() bool { status, _ := probe(t, w, "/readyz"); return status == http.StatusOK }, out.String)
	w.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
