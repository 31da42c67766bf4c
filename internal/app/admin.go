package app

import (
	"context"
	"errors"
	"fmt"
	"html"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/postrider/postrider/internal/version"
)

// admin serves probes and metrics. It offers nothing that changes anything.
type admin struct {
	// startAdmin sets server and addr; nothing changes them later. Run's goroutine
	// closes the server.
	server *http.Server
	addr   string
	// check, which says why the worker is not ready, and began are for /readyz, /startupz
	// and /metrics, whose requests have goroutines of their own. Run's goroutine sets both
	// once mail is taken; the goroutine of onStop clears check.
	check atomic.Pointer[func() error]
	began atomic.Bool
}

func startAdmin(addr string, reg *prometheus.Registry, log *slog.Logger) (*admin, error) {
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("POSTRIDER_ADMIN: %s is taken, perhaps by another worker: set POSTRIDER_ADMIN to another address, like 127.0.0.1:0", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("POSTRIDER_ADMIN: %w", err)
	}
	a := &admin{addr: l.Addr().String()}
	a.describe(reg)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	// These say only that the process runs: an outage of the broker must not
	// restart every worker.
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, true) })
	mux.HandleFunc("GET /startupz", func(w http.ResponseWriter, _ *http.Request) { answer(w, a.began.Load()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { says(w, a.unready()) })
	mux.HandleFunc("GET /{$}", contents)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		if err := a.server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("probes and metrics are not served any more", "error", err)
		}
	}()
	return a, nil
}

// ready sets the check behind /readyz; nil if the worker is stopping.
func (a *admin) ready(check func() error) {
	if check == nil {
		a.check.Store(nil)
		return
	}
	a.began.Store(true)
	a.check.Store(&check)
}

// unready is why the worker is not ready; nil if it is.
func (a *admin) unready() error {
	switch check := a.check.Load(); {
	case check != nil:
		return (*check)()
	case a.began.Load():
		return errStopping
	}
	return errStarting
}

// describe registers the metrics of the process as a whole.
func (a *admin) describe(reg prometheus.Registerer) {
	f := promauto.With(reg)
	f.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "postrider_ready", Help: "1 while /readyz says ready: connected to the broker, which can store, taking mail, and not told to stop.",
	}, func() float64 {
		if a.unready() != nil {
			return 0
		}
		return 1
	})
	f.NewGauge(prometheus.GaugeOpts{
		Name: "postrider_build_info", Help: "1, with the version of the worker.",
		ConstLabels: prometheus.Labels{"version": version.String(), "goversion": runtime.Version()},
	}).Set(1)
}

func (a *admin) close(ctx context.Context) error { return a.server.Shutdown(ctx) }

// contents is the page for people who come without a path.
func contents(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprintf(w, `<!DOCTYPE html>
<title>Postrider</title>
<h1>Postrider worker %s</h1>
<ul>
<li><a href="/livez">/livez</a>, <a href="/healthz">/healthz</a>: the process runs
<li><a href="/readyz">/readyz</a>: it is connected to the broker, which can store, takes mail, and was not told to stop
<li><a href="/startupz">/startupz</a>: it has begun to take mail
<li><a href="/metrics">/metrics</a>: for Prometheus
</ul>
<p>The queue itself: <code>postrider status</code>
`, html.EscapeString(version.String()))
}

// says is the answer of /readyz.
func says(w http.ResponseWriter, unready error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if unready != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "not ready:", unready)
		return
	}
	fmt.Fprintln(w, "ready")
}

func answer(w http.ResponseWriter, good bool) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, "no")
		return
	}
	fmt.Fprintln(w, "ok")
}
