package fleet

import (
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/network"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/testrun"
)

// worker is one of those that deliver.
type worker struct {
	container *testcontainers.DockerContainer
	probes    string
}

// workerEnv is a production worker's, with minutes shortened to seconds.
var workerEnv = map[string]string{
	"NATS_URL": "nats://n1:4222,nats://n2:4222,nats://n3:4222", "POSTRIDER_REPLICAS": "3",
	"SMTP_URL": "smtp://relay:25?tls=none", "POSTRIDER_LOG_LEVEL": "warn",
	"POSTRIDER_ACK_WAIT": ackWait.String(), "POSTRIDER_RETRY_AFTER": "1s,2s", "SMTP_PAUSE_MIN": "100ms", "SMTP_PAUSE_MAX": "1s", "POSTRIDER_SWEEP_INTERVAL": "5s",
	// A relay that is cut off does not answer; its replies take milliseconds.
	"SMTP_TIMEOUT_CONNECT": "2s", "SMTP_TIMEOUT_COMMAND": smtpTimeout.String(), "SMTP_TIMEOUT_DATA": smtpTimeout.String(),
	"SMTP_TIMEOUT_DOT": smtpTimeout.String(),
}

const smtpTimeout = 5 * time.Second

func (f *fleet) startWorker(i image) *worker {
	f.t.Helper()
	port := freeport.Port()
	w := &worker{probes: "http://" + net.JoinHostPort(f.host, strconv.Itoa(port))}
	var err error
	w.container, err = f.run(fmt.Sprintf("worker %d, %s", len(f.workers)+1, i), i,
		testcontainers.WithEnv(workerEnv),
		publish(map[string]int{"8026/tcp": port}),
		network.WithNetwork(nil, f.admin),
		network.WithNetwork(nil, f.front),
		network.WithNetwork(nil, f.out))
	if err != nil {
		f.t.Fatal(err)
	}
	f.workers = append(f.workers, w)
	return w
}

// stop tells a worker to stop, waits until it has, and holds that it ended well.
func (f *fleet) stop(w *worker) {
	f.t.Helper()
	patience := ready
	if err := w.container.Stop(f.t.Context(), &patience); err != nil {
		f.t.Fatal(err)
	}
	s, err := w.container.State(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	if s.ExitCode != 0 {
		f.t.Errorf("a worker that was told to stop ended with %d", s.ExitCode)
	}
}

// await waits for an answer.
func (w *worker) await(t *testing.T, path string, want bool) {
	t.Helper()
	testrun.Eventually(t, fmt.Sprintf("%s answers %t", path, want), ready, func() bool {
		got, err := probe(t.Context(), w.probes+path)
		return err == nil && got == want
	})
}

// hold checks that a probe answers so now.
func (w *worker) hold(t *testing.T, path string, want bool) {
	t.Helper()
	if got, err := probe(t.Context(), w.probes+path); err != nil || got != want {
		t.Errorf("%s answers %t, want %t: %v", path, got, want, err)
	}
}
