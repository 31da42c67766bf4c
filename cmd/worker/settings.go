package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/consumer"
	"github.com/postrider/postrider/internal/env"
	"github.com/postrider/postrider/settle"
	"github.com/postrider/postrider/smtp"
)

// settings are those of all rooms.
type settings struct {
	broker   broker.Config
	smtp     smtp.Config
	consumer consumer.Config
	settle   settle.Config
	worker   workerConfig
	// colour: NO_COLOR is not set (no-color.org).
	colour bool
}

// workerConfig is what concerns the process itself.
type workerConfig struct {
	AdminAddr string `env:"POSTRIDER_ADMIN" help:"Address of /livez, /readyz, /startupz and /metrics."`
	LogFormat string `env:"POSTRIDER_LOG_FORMAT" help:"text for people, json for machines; auto is text on a terminal and with the development relay."`
	LogLevel  string `env:"POSTRIDER_LOG_LEVEL" help:"debug, info, warn or error: what the worker says of itself, and in JSON of mail too."`
	LogMail   string `env:"POSTRIDER_LOG_MAIL" help:"all says what became of each mail; failures leaves out what was delivered or scheduled."`
}

func defaultWorkerConfig() workerConfig {
	return workerConfig{AdminAddr: "127.0.0.1:8026", LogFormat: "auto", LogLevel: "info", LogMail: "all"}
}

// Validate reports everything that is wrong, each error naming its variable.
func (c workerConfig) Validate() []error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.AdminAddr); err != nil {
		errs = append(errs, fmt.Errorf("POSTRIDER_ADMIN: %q is not host:port", c.AdminAddr))
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.LogFormat) {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_FORMAT: %q is not text, json or auto", c.LogFormat))
	}
	if c.LogMail != "all" && c.LogMail != "failures" {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_MAIL: %q is not all or failures", c.LogMail))
	}
	if _, ok := levels[c.LogLevel]; !ok {
		errs = append(errs, fmt.Errorf("POSTRIDER_LOG_LEVEL: %q is not debug, info, warn or error", c.LogLevel))
	}
	return errs
}

// configError is a problem that passes only when somebody changes something:
// a setting, or what holds a port or a directory.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

func readSettings(ctx context.Context, lookup env.Lookup) (*settings, []error) {
	s := &settings{
		broker: broker.DefaultConfig(), smtp: smtp.DefaultConfig(), consumer: consumer.DefaultConfig(), settle: settle.DefaultConfig(),
		worker: defaultWorkerConfig(),
	}
	errs := env.Read(ctx, lookup, &s.broker, &s.smtp.Timeouts, &s.smtp, &s.consumer, &s.settle, &s.worker)
	no, _ := lookup("NO_COLOR")
	s.colour = no == ""
	s.consumer.Slots = s.smtp.MaxSessions
	s.settle.PauseMin, s.settle.PauseMax = s.smtp.PauseMin, s.smtp.PauseMax
	return s, errs
}

// checkRelay: whoever delivers needs a relay, and only a worker with a broker of
// its own has one of its own.
func (s *settings) checkRelay() error {
	if !s.embedded() && s.smtp.URL == "" {
		return errors.New("SMTP_URL: is not set: with NATS_URL a relay is needed, like smtp://relay.example.com:587")
	}
	return nil
}

// checkBroker: only a broker that others run is provisioned apart.
func (s *settings) checkBroker() error {
	if s.embedded() {
		return errors.New("NATS_URL: is not set: an embedded broker is provisioned by its own worker")
	}
	return nil
}

// embedded reports that the worker runs a broker of its own.
func (s *settings) embedded() bool { return s.broker.URL == "" }

// development reports that the worker runs a relay of its own.
func (s *settings) development() bool { return s.embedded() && s.smtp.URL == "" }
