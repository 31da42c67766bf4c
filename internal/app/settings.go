package app

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/relays"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
)

// Settings are those of all parts of a worker.
type Settings struct {
	Broker   broker.Config
	SMTP     smtp.Config
	Relays   relays.Config
	Consumer consumer.Config
	Settle   settle.Config
	Process  Process
	// color: NO_COLOR is not set (no-color.org).
	color bool
}

// Process is what concerns the process itself.
type Process struct {
	Admin     string `env:"POSTRIDER_ADMIN" shape:"address" help:"Address of /livez, /healthz (the same), /readyz, /startupz and /metrics."`
	LogFormat string `env:"POSTRIDER_LOG_FORMAT" help:"text for people, json for machines; auto is text on a terminal and with the development relay."`
	LogLevel  string `env:"POSTRIDER_LOG_LEVEL" help:"debug, info, warn or error: what the worker reports about itself, and in JSON about mail too."`
	LogMail   string `env:"POSTRIDER_LOG_MAIL" help:"all reports what became of each message; failures leaves out what was delivered or scheduled."`
}

// DefaultProcess is what a worker does with nothing set.
func DefaultProcess() Process {
	return Process{Admin: "127.0.0.1:8026", LogFormat: "auto", LogLevel: "info", LogMail: "all"}
}

// Validate reports everything that is wrong. Each error names its variable.
func (p Process) Validate() []error {
	var errs []error
	if err := check.Address(p.Admin); err != nil {
		errs = append(errs, fmt.Errorf("POSTRIDER_ADMIN: %w", err))
	}
	if !slices.Contains([]string{"auto", "text", "json"}, p.LogFormat) {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_FORMAT: %q is not text, json or auto", p.LogFormat))
	}
	if p.LogMail != "all" && p.LogMail != "failures" {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_MAIL: %q is not all or failures", p.LogMail))
	}
	if _, ok := levels[p.LogLevel]; !ok {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_LEVEL: %q is not debug, info, warn or error", p.LogLevel))
	}
	return errs
}

// ConfigError is a problem that lasts until somebody changes something: a
// setting, or what uses a port or a directory.
type ConfigError struct{ error }

// Unwrap gives the error.
func (e *ConfigError) Unwrap() error { return e.error }

// ReadSettings reads the settings from an environment as of [os.Environ], and
// reports all problems at once, unknown settings among them.
func ReadSettings(environ []string) (*Settings, []error) {
	s := &Settings{
		Broker: broker.DefaultConfig(), SMTP: smtp.DefaultConfig(), Consumer: consumer.DefaultConfig(), Settle: settle.DefaultConfig(),
		Process: DefaultProcess(),
	}
	lookup := env.Of(environ)
	errs := env.Read(lookup, &s.Broker, &s.SMTP.Timeouts, &s.SMTP, &s.Relays, &s.Consumer, &s.Settle, &s.Process)
	no, _ := lookup("NO_COLOR")
	s.color = no == ""
	s.Consumer.Slots, s.Consumer.MaxBytes = s.SMTP.MaxSessions, bytesInFlight(memoryLimit())
	s.Settle.PauseMin, s.Settle.PauseMax = s.SMTP.PauseMin, s.SMTP.PauseMax
	if err := s.checkFiles(openFiles()); err != nil && len(errs) == 0 {
		errs = append(errs, err)
	}
	return s, append(errs, env.Unknown(environ)...)
}

// spareFiles are those that a worker has open beside its sessions.
const spareFiles = 200

// checkFiles refuses more sessions than the process may have connections.
func (s *Settings) checkFiles(limit uint64) error {
	n := uint64(max(s.SMTP.MaxSessions, 0))
	if few := uint64(smtp.DefaultConfig().MaxSessions); n > few && n+spareFiles > limit {
		return fmt.Errorf("SMTP_MAX_SESSIONS: is %d, but this process may open only %d files: set it to at most %d, or raise the limit (ulimit -n)", n, limit, limit-min(limit, spareFiles))
	}
	return nil
}

// openFiles is how many files this process may have open.
func openFiles() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return math.MaxUint64
	}
	return uint64(limit.Cur) //nolint:unconvert // signed on other systems
}

// Group is a heading of the list of settings, and the structs that have them,
// as for [env.List].
type Group struct {
	Title   string
	Targets []any
}

// Groups are all settings.
func (s *Settings) Groups() []Group {
	return []Group{
		{"The broker", []any{&s.Broker}},
		{"The relay", []any{&s.SMTP, &s.SMTP.Timeouts, &s.Relays}},
		{"Taking mail and giving up", []any{&s.Consumer, &s.Settle}},
		{"The process", []any{&s.Process}},
	}
}

// CheckRelay refuses settings without a relay: only a worker with an embedded
// broker has a development relay.
func (s *Settings) CheckRelay() error {
	if !s.embedded() && s.SMTP.URL == "" {
		return errors.New("SMTP_URL: is not set: with NATS_URL a relay is needed, like smtp://relay.example.com:587")
	}
	return nil
}

// CheckBroker refuses settings without a broker: an embedded one is provisioned
// by its worker alone.
func (s *Settings) CheckBroker() error {
	if s.embedded() {
		return errors.New("NATS_URL: is not set: an embedded broker is provisioned by its own worker")
	}
	return nil
}

// embedded reports that the worker runs its own broker.
func (s *Settings) embedded() bool { return s.Broker.URL == "" }

// development reports that the worker runs its own relay.
func (s *Settings) development() bool { return s.embedded() && s.SMTP.URL == "" }
