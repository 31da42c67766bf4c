package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/postrider/postrider/schema"
)

const (
	// A row has as many mails as the disk syncs writes in a second, within these
	// limits: it then takes about as long on every disk.
	leastMails, mostMails = 300, 3000
	// tracedMails are those of a run in which syncs are counted.
	tracedMails = 600
	// patience and patienceEach, for each mail, are for a slow disk and a machine that
	// has other things to do.
	patience     = 2 * time.Minute
	patienceEach = 20 * time.Millisecond
)

// system is something that takes mails and sends them to a relay, and a way in to it.
type system struct {
	name string
	// start starts it in dir, with the relay at that address. traced has its syncs counted.
	start func(b bench, dir, relay string, traced bool) (running, error)
}

// running is a system that runs.
type running struct {
	// publish returns when it has taken all mails.
	publish func(ctx context.Context, mails []*schema.Envelope) error
	// cost is what it has used since its start. end stops it, and is that too.
	cost, end func() (cost, error)
	// kill stops it if it still runs.
	kill func()
	// output is the file of what it says.
	output string
}

// said is the end of its output.
func (r running) said() []byte {
	out, _ := os.ReadFile(r.output)
	return out[max(0, len(out)-2000):]
}

var ways = []system{worker("Publish, 16 at once", singly), worker("PublishAll", together)}

// row is what was measured of one way in.
type row struct {
	way   string
	mails int
	// perSecond are messages, syncs what the disk did in a second before and after.
	perSecond, syncs float64
	// cpu is in seconds for 1,000 messages.
	cpu float64
	// fsyncs are those of one message; uncounted says why there are none.
	fsyncs    float64
	uncounted string
	// twice are the ids of mails that the relay accepted more than once.
	twice []string
}

func (r row) ratio() float64 { return r.perSecond / r.syncs }

// bench measures, with files of its own in dir.
type bench struct {
	dir, program string
	// yard is how long the disk is measured before and after each row.
	yard time.Duration
	// least and most bound the mails of a row, before they are multiplied.
	least, most, scale int
	traced             int
	// far is where the relay is.
	far far
}

func (b bench) rows(ctx context.Context) ([]row, error) {
	var all []row
	for _, w := range ways {
		r, err := b.row(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		all = append(all, r)
	}
	return all, nil
}

func (b bench) row(ctx context.Context, w system) (row, error) {
	before, err := syncs(b.dir, b.yard)
	if err != nil {
		return row{}, err
	}
	n := b.scale * min(max(int(before), b.least), b.most)
	d, err := b.deliver(ctx, w, n, false)
	if err != nil {
		return row{}, err
	}
	after, err := syncs(b.dir, b.yard)
	if err != nil {
		return row{}, err
	}
	r := row{
		way: w.name, mails: n, perSecond: d.perSecond(), syncs: (before + after) / 2,
		cpu: d.cpuOf1000(), twice: d.twice,
	}
	// Apart from the rest, because strace slows the worker down.
	if r.uncounted = noStrace(ctx); r.uncounted == "" {
		d, err = b.deliver(ctx, w, b.traced, true)
		r.fsyncs = float64(d.fsyncs) / float64(b.traced)
	}
	return r, err
}

// delivered is what the mails of one worker took.
type delivered struct {
	mails int
	took  time.Duration
	cost
	twice []string
}

// deliver publishes that many mails to a system that it starts, and waits until the relay
// has accepted them and the system is done with them.
func (b bench) deliver(ctx context.Context, w system, n int, traced bool) (d delivered, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience+time.Duration(n)*patienceEach)
	defer cancel()
	dir, err := os.MkdirTemp(b.dir, "run")
	if err != nil {
		return d, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s, err := newSink(n, b.far)
	if err != nil {
		return d, err
	}
	defer s.close()
	p, err := w.start(b, dir, s.addr, traced)
	if err != nil {
		return d, err
	}
	defer p.kill()
	mails := tenKilobytes(n)
	before, err := p.cost()
	if err != nil {
		return d, err
	}
	began := time.Now()
	if err := p.publish(ctx, mails); err != nil {
		return d, fmt.Errorf("publish: %w", err)
	}
	last, err := s.wait(ctx)
	if err != nil {
		return d, fmt.Errorf("%w; the output ends with\n%s", err, p.said())
	}
	d.mails, d.took = n, last.Sub(began)
	after, err := p.end()
	d.cost, d.twice = after.less(before), s.twice()
	return d, err
}
