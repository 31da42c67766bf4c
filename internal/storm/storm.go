package storm

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/stream"
)

// Config is the size of a storm.
type Config struct {
	// Bin holds the programs worker and relay, Dir is where they run.
	Bin, Dir string
	// URL is that of brokers that run already. Without it the storm has one of its own.
	URL   string
	Mails int
	// Workers besides the one that runs the broker; the oldest is killed each
	// KillEvery.
	Workers   int
	For       time.Duration
	KillEvery time.Duration
	// BrokerKills and RelayKills are spread over For.
	BrokerKills, RelayKills int
	// Drained bounds the wait for the queue to be empty after the storm.
	Drained time.Duration
	Log     func(format string, args ...any)
	// Env is set for broker and workers, over what storms have; RelayArgs go to
	// the relay.
	Env, RelayArgs []string
}

// storm is one that rages.
type storm struct {
	Config
	env       []string
	relayAddr string
	relay     *Process
	broker    *Process
	workers   []*Process
	started   int
	faults    []Fault
	kills     int
}

func newStorm(cfg Config) *storm {
	return &storm{Config: cfg, env: append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + cfg.Dir, "POSTRIDER_ADMIN=127.0.0.1:0", "POSTRIDER_LOG_FORMAT=text", "POSTRIDER_LOG_LEVEL=warn",
		"POSTRIDER_ACK_WAIT=5s", "POSTRIDER_RETRY_AFTER=1s,2s", "SMTP_PAUSE_MIN=100ms", "SMTP_PAUSE_MAX=1s", "POSTRIDER_SWEEP_INTERVAL=5s",
		"POSTRIDER_DATA_DIR=" + filepath.Join(cfg.Dir, "data"),
	}, cfg.Env...)}
}

// Run lets it rage, waits until the queue is empty, and gives the books'
// verdict. The error says that the storm could not be carried out.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	s := newStorm(cfg)
	defer s.end()
	if err := s.start(); err != nil {
		return nil, err
	}
	p := &Producer{URL: s.url(), Clients: 8}
	if cfg.For > 0 && cfg.Mails > 0 {
		// The mail is to last for most of the storm.
		p.Every = cfg.For * 3 / 4 * time.Duration(p.Clients) / time.Duration(cfg.Mails)
	}
	published := make(chan error, 1)
	go func() { published <- p.Publish(ctx, cfg.Mails, MixedMail) }()
	if err := s.rage(ctx); err != nil {
		return nil, err
	}
	if err := <-published; err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	q, err := s.drain(ctx)
	if err != nil {
		return nil, err
	}
	return s.report(p.Acknowledged(), q)
}

func (s *storm) report(acknowledged []Mail, q *Queue) (*Report, error) {
	r, err := Verdict(acknowledged, s.Dir, q, s.faults)
	if err == nil {
		r.Kills = s.kills
	}
	return r, err
}

func (s *storm) get(name string) string {
	for _, v := range slices.Backward(s.env) {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// url is where the workers find the broker.
func (s *storm) url() string {
	if s.URL != "" {
		return s.URL
	}
	return "nats://" + s.get("NATS_LISTEN")
}

func (s *storm) run(name, program string, env []string, args ...string) (*Process, error) {
	s.started++
	return Start(fmt.Sprintf("%s%d", name, s.started), s.Dir, env, filepath.Join(s.Bin, program), args...)
}

const ready = 30 * time.Second

func (s *storm) start() error {
	s.relayAddr = freeport.Addr()
	if err := s.startRelay(); err != nil {
		return err
	}
	s.env = append(s.env, "SMTP_URL=smtp://"+s.relayAddr+"?tls=none", "NATS_LISTEN="+freeport.Addr())
	if s.URL == "" {
		if err := s.startBroker(); err != nil {
			return err
		}
	}
	for range s.Workers {
		if err := s.startWorker(); err != nil {
			return err
		}
	}
	return nil
}

func (s *storm) startRelay() (err error) {
	args := []string{"-listen", s.relayAddr, "-delay", "5ms", "-book", filepath.Join(s.Dir, "book"), "-open", filepath.Join(s.Dir, "open")}
	s.relay, err = s.run("relay", "relay", nil, append(args, s.RelayArgs...)...)
	if err != nil {
		return err
	}
	_, err = Await(s.relay.Out, `listening on `, ready)
	return err
}

// startBroker starts the worker that runs the broker.
func (s *storm) startBroker() (err error) {
	if s.broker, err = s.run("broker", "worker", s.env); err != nil {
		return err
	}
	_, err = Await(s.broker.Out, `broker at nats://`, ready)
	return err
}

func (s *storm) startWorker() error {
	p, err := s.run("worker", "worker", append(slices.Clip(s.env), "NATS_URL="+s.url()))
	if err == nil {
		s.workers = append(s.workers, p)
	}
	return err
}

// rage kills until the time is over.
func (s *storm) rage(ctx context.Context) error {
	end := time.Now().Add(s.For)
	every := func(n int) (time.Duration, time.Time) {
		if n == 0 {
			return s.For, end.Add(time.Hour)
		}
		d := s.For / time.Duration(n+1)
		return d, time.Now().Add(d)
	}
	brokerEvery, nextBroker := every(s.BrokerKills)
	relayEvery, nextRelay := every(s.RelayKills)
	nextRelay = nextRelay.Add(-relayEvery / 2)
	brokerKills, relayKills := 0, 0
	for ctx.Err() == nil && time.Now().Before(end) {
		stream.Pause(ctx, s.KillEvery)
		if err := s.killWorker(); err != nil {
			return err
		}
		now := time.Now()
		if now.After(nextBroker) && brokerKills < s.BrokerKills {
			brokerKills, nextBroker = brokerKills+1, nextBroker.Add(brokerEvery)
			if err := s.kill(s.broker, s.startBroker, true); err != nil {
				return err
			}
		}
		if now.After(nextRelay) && relayKills < s.RelayKills {
			relayKills, nextRelay = relayKills+1, nextRelay.Add(relayEvery)
			if err := s.kill(s.relay, s.startRelay, true); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (s *storm) killWorker() error {
	if len(s.workers) == 0 {
		return nil
	}
	old := s.workers[0]
	s.workers = s.workers[1:]
	return s.kill(old, s.startWorker, false)
}

// kill kills a process and starts it again. Where others miss it while it is
// away the fault lasts until after its return.
func (s *storm) kill(p *Process, again func() error, away bool) error {
	f := Fault{From: time.Now()}
	if err := p.End(syscall.SIGKILL); err != nil {
		return err
	}
	s.kills++
	f.To = time.Now()
	if err := again(); err != nil {
		return err
	}
	if away {
		f.To = time.Now().Add(settle)
	}
	s.faults = append(s.faults, f)
	return nil
}

// settle is how long after a return the doubles of an outage may still come.
const settle = 2 * time.Second

// drain waits until the queue is empty and reads its books.
func (s *storm) drain(ctx context.Context) (*Queue, error) {
	c, err := s.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	return Drain(ctx, c, s.Drained)
}

// dial connects as an operator's `postrider` does.
func (s *storm) dial(ctx context.Context) (*broker.Conn, error) {
	cfg := broker.DefaultConfig()
	cfg.URL, cfg.Listen, cfg.DataDir, cfg.Role = s.URL, s.get("NATS_LISTEN"), s.get("POSTRIDER_DATA_DIR"), broker.Operator
	return broker.Dial(ctx, cfg, slog.New(slog.DiscardHandler))
}

// end stops what still runs.
func (s *storm) end() {
	for _, p := range append(s.workers, s.broker, s.relay) {
		if p != nil {
			_ = p.End(syscall.SIGKILL)
		}
	}
}
