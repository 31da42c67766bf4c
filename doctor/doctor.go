// Package doctor says what is wrong with the mail system and what to do: the
// broker, its streams and consumers, the mail in them, the relay.
//
// [Examine] reads everything and changes nothing. Each check has its own time limit
// and its own findings, so that one which fails does not hide the others. A pure
// function, judge…, makes the findings of what a check has read. What package queue
// knows (lanes, room, dead letters) it judges itself, for postrider status too.
//
// It repairs nothing: workers and `postrider provision` do that.
package doctor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/queue"
	"github.com/postrider/postrider/smtp"
	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

type (
	// Level is how bad a finding is.
	Level = queue.Level
	// Finding is the result of one check.
	Finding = queue.Finding
)

// The levels of package queue, the worst first.
const (
	Problem = queue.Problem
	Warning = queue.Warning
	Note    = queue.Note
	OK      = queue.OK
)

var levels = []Level{Problem, Warning, Note, OK}

// Patient is what is examined.
type Patient struct {
	// Conn is an operator's connection; nil if there is none, for the reason Away.
	Conn  *broker.Conn
	Away  error
	Queue *queue.Queue
	// Broker is what the broker should have; an AckWait of 0 stands for any.
	Broker broker.Config
	// Lanes are those that should exist; if there are none, those that do.
	Lanes []wire.Lane
	// Relay is the one that the workers use.
	Relay smtp.Config
	// Faults are what is wrong with the settings.
	Faults []error
	// RulesFaults are what is wrong with the file of rules.
	RulesFaults []error
}

// checkFor bounds each check at the broker.
const checkFor = 10 * time.Second

// Examine examines everything. The worst findings come first. The error says that the
// broker could not be used at all; a finding says so too.
func Examine(ctx context.Context, p *Patient) ([]Finding, error) {
	var relay []Finding
	var tasks sync.WaitGroup
	tasks.Go(func() { relay = p.relay(ctx) })
	all, err := p.broker(ctx)
	tasks.Wait()
	all = together(slices.Concat(judgeSettings(p.Faults), judgeRules(p.RulesFaults), whose(all, relay)))
	slices.SortStableFunc(all, func(a, b Finding) int { return slices.Index(levels, a.Level) - slices.Index(levels, b.Level) })
	return all, err
}

func judgeSettings(faults []error) (all []Finding) {
	for _, err := range faults {
		all = append(all, Finding{Level: Problem, Check: "settings", At: "environment", Found: err.Error(), Do: "correct the variable; postrider config shows what is in force"})
	}
	return all
}

// judgeRules makes one finding of all errors of the file, which is corrected at once.
func judgeRules(faults []error) []Finding {
	if len(faults) == 0 {
		return nil
	}
	const setting = "POSTRIDER_RELAYS"
	said := make([]string, len(faults))
	for i, err := range faults {
		said[i] = strings.TrimPrefix(err.Error(), setting+": ")
	}
	return []Finding{{Level: Problem, Check: "settings", At: setting, Found: strings.Join(said, "\n"), Do: "correct the file; postrider relay check examines it"}}
}

// together makes one finding of those that differ in what was examined only.
func together(all []Finding) []Finding {
	var some []Finding
	for _, f := range all {
		i := slices.IndexFunc(some, func(g Finding) bool { g.At = f.At; return g == f })
		if i < 0 {
			some = append(some, f)
			continue
		}
		some[i].At += ", " + f.At
	}
	return some
}

// broker has the checks at the broker.
func (p *Patient) broker(ctx context.Context) ([]Finding, error) {
	if p.Conn == nil {
		return append([]Finding{{Level: Problem, Check: "broker", At: "connection", Found: p.Away.Error(), Do: "see that the broker runs, and that the NATS_ variables and POSTRIDER_DATA_DIR here are those of its operator"}}, p.disk()...), p.Away
	}
	x, err := within(ctx, func(ctx context.Context) (*broker.Examination, error) {
		return broker.Examine(ctx, p.Conn, p.Lanes, p.Broker)
	})
	if err != nil {
		return append([]Finding{p.unusable(err)}, p.disk()...), err
	}
	var all []Finding
	for _, judge := range []func(*broker.Examination) []Finding{judgeServer, judgeWrites, judgeProducers, judgeRoom, judgeStreams, judgeReplicas} {
		all = append(all, judge(x)...)
	}
	all = append(append(all, judgeLanes(x, p.Lanes)...), Damage(x.Usage.Dir)...)
	checks := []func(context.Context, *broker.Examination) []Finding{p.log, p.consumers, p.mail, p.stranded, p.schedules, p.deadLetters, p.clock}
	found := make([][]Finding, len(checks))
	var tasks sync.WaitGroup
	for i, check := range checks {
		tasks.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, checkFor)
			defer cancel()
			found[i] = check(ctx, x)
		})
	}
	tasks.Wait()
	return Fit(once(append(all, slices.Concat(found...)...)), x.Embedded), nil
}

// unusable is the finding about a broker that does not tell of its streams.
func (p *Patient) unusable(err error) Finding {
	f := Finding{Level: Problem, Check: "broker", At: "JetStream account", Found: err.Error(), Do: "use the operator's credential: set POSTRIDER_DATA_DIR to the directory of the broker, or NATS_CREDS, NATS_NKEY or NATS_USER"}
	if errors.Is(stream.Classify(err), stream.ErrNoLeader) {
		f.At, f.Do = "NATS cluster", queue.StartServers
	}
	if dir := p.Conn.Own(); dir != "" {
		f.At, f.Found = dir, "the store of the worker's embedded broker is closed or does not answer: "+stream.Classify(err).Error()
		f.Do = "see the worker's log, and make room in " + dir + " if it is full"
	}
	return f
}

// disk judges what is known of the directory of an embedded broker that does not answer.
func (p *Patient) disk() []Finding {
	if u := p.Broker.Disk(); u.Dir != "" {
		return append(Damage(u.Dir), judgeDisk(u))
	}
	return nil
}

func within[T any](ctx context.Context, f func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, checkFor)
	defer cancel()
	return f(ctx)
}

// unread is the finding of a check that could not read.
func unread(check, at string, err error) Finding {
	return Finding{Level: Problem, Check: check, At: at, Found: "could not be read: " + queue.Explain(err, "").Error(), Do: readAgain}
}
