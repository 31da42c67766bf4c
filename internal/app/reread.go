package app

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/internal/reread"
)

const (
	// tryFor bounds the login with new credentials.
	tryFor = 10 * time.Second
	// warnEvery is how often the same warning is logged.
	warnEvery = time.Minute
	// rulesEvery is how often the rules of the operator are read while no reply needs them,
	// so that a mistake in them is said soon.
	rulesEvery = 10 * time.Second
)

// files are those of secrets, certificates and rules, with what they held when somebody last
// asked to read them again. One goroutine uses them.
type files struct {
	broker, relay, rules []reread.File
	sums                 map[string][sha256.Size]byte
	// warned is the last warning, at warnedAt.
	warned   string
	warnedAt time.Time
}

func (s *Settings) files() *files {
	f := &files{relay: s.SMTP.Files(), rules: s.Relays.Files(), sums: make(map[string][sha256.Size]byte)}
	if !s.embedded() {
		f.broker = s.Broker.Files()
	}
	return f
}

// look is what reading files again showed, in the names of their settings.
type look struct {
	read, changed []string
	wrong         []error
	// seen: what is wrong is looked at again without a signal.
	seen bool
}

func (l *look) add(m look) {
	l.read, l.changed, l.wrong = append(l.read, m.read...), append(l.changed, m.changed...), append(l.wrong, m.wrong...)
}

// look reads files again. What is changed is so until it is used.
func (f *files) look(all []reread.File, use func() error) (l look) {
	sums := make(map[string][sha256.Size]byte)
	for _, file := range all {
		content, err := file.Read()
		if err != nil {
			l.wrong = append(l.wrong, err)
			continue
		}
		l.read = append(l.read, file.Setting)
		if sum := sha256.Sum256(content); sum != f.sums[file.Setting] {
			l.changed, sums[file.Setting] = append(l.changed, file.Setting), sum
		}
	}
	if len(l.changed) == 0 || len(l.wrong) > 0 {
		return l
	}
	if err := use(); err != nil {
		l.wrong = append(l.wrong, err)
		return l
	}
	maps.Copy(f.sums, sums)
	return l
}

// Reread has the worker read the files of secrets, certificates and rules again, say what it
// finds, and log in to the broker with what is new. It does not wait for that.
func (w *Worker) Reread() {
	select {
	case w.asked <- struct{}{}:
	default: // it is about to
	}
}

// watchFiles does what [Worker.Reread] asks for. New sessions with the relay use what is
// new by themselves.
func (w *Worker) watchFiles(ctx context.Context) {
	unused := func() error { return nil }
	f := w.set.files()
	f.look(f.broker, unused)
	f.look(f.relay, unused)
	f.look(f.rules, unused)
	w.watch(ctx, "watch over files", func(ctx context.Context) {
		tick := time.NewTicker(rulesEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				w.rules.Rules() // it says what is wrong with a change
				continue
			case <-w.asked:
			}
			w.rules.Rules()
			w.relay.Retry()
			l := f.look(f.relay, unused)
			l.add(f.look(f.broker, func() error { return w.loginAgain(ctx) }))
			l.seen = len(l.wrong) == 0
			l.add(f.look(f.rules, unused))
			if f.news(l) {
				w.sayFiles(l)
			}
		}
	})
}

// news reports that this is no warning that was logged within the last minute.
func (f *files) news(l look) bool {
	warning := ""
	if len(l.wrong) > 0 {
		warning = errors.Join(l.wrong...).Error()
	}
	if warning != "" && warning == f.warned && time.Since(f.warnedAt) < warnEvery {
		return false
	}
	f.warned, f.warnedAt = warning, time.Now()
	return true
}

// loginAgain connects to the broker again, if the broker accepts what is new: an operator
// who makes a mistake must not cut off the workers.
func (w *Worker) loginAgain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, tryFor)
	defer cancel()
	try, err := broker.Dial(ctx, w.set.Broker, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	try.Close()
	return w.conn.NC().ForceReconnect()
}

// sayFiles logs what was found, in one line.
func (w *Worker) sayFiles(l look) {
	attrs := []any{"read", list(l.read), "changed", list(l.changed)}
	switch {
	case len(l.wrong) > 0 && l.seen:
		w.log.Warn("files were read again, and what is wrong is not used: correct it, which is seen within ten seconds", append(attrs, "error", errors.Join(l.wrong...))...)
	case len(l.wrong) > 0:
		w.log.Warn("files were read again, and what is wrong is not used: correct it, and send SIGHUP again", append(attrs, "error", errors.Join(l.wrong...))...)
	case len(l.read) == 0:
		w.log.Info("no secret, certificate or rule comes from a file: nothing was read again")
	default:
		w.log.Info("files were read again", attrs...)
	}
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
