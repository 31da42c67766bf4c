package smtp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/mail"
)

func shortPauses(c *Config) { c.PauseMin, c.PauseMax = time.Second, time.Minute }

// TestCircuitProbes: one goroutine opens sessions, ever more slowly, and sends no
// mail; when one succeeds, everyone who waits goes on, and that session is used.
func TestCircuitProbes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var dials []time.Time
		var repaired atomic.Bool
		b := newPiped(t, shortPauses)
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			if repaired.Load() {
				return b.server.Pipe(), nil
			}
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, time.Now())
			return nil, &net.OpError{Op: "dial", Err: errors.New("no route")}
		}
		for range 20 {
			b.wantClasses(t, message(), "requeued")
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		mu.Lock()
		if len(dials) < 9 || len(dials) > 13 {
			t.Errorf("%d dials in 5 minutes", len(dials))
		}
		for i := range dials[1:] {
			full := min(time.Second<<i, time.Minute)
			if gap := dials[i+1].Sub(dials[i]); gap > full || gap < full*3/4 {
				t.Errorf("pause %d is %s, want about %s", i, gap, full)
			}
		}
		mu.Unlock()
		repaired.Store(true)
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || !b.Up() {
			t.Fatalf("Wait: %v", err)
		}
		if took := time.Since(start); took > time.Minute {
			t.Errorf("a relay that works again was used after %s", took)
		}
		synctest.Wait()
		b.wantClasses(t, message(), "delivered")
		if n := b.server.Sessions(); n != 1 {
			t.Errorf("%d sessions: the probe's was not used", n)
		}
		if w, i := b.log.count("level=WARN"), b.log.count("level=INFO"); w != 1 || i != 1 {
			t.Errorf("%d warnings and %d infos, want one each:\n%s", w, i, b.log)
		}
	})
}

// TestCircuitThrottle: a relay that asks for less mail still accepts sessions, so
// probes succeed at once; the pause must grow until mail works.
func TestCircuitThrottle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var full atomic.Bool
		full.Store(true)
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && full.Load() {
				return &smtptest.Answer{Reply: "452 4.3.1 try later"}
			}
			return nil
		}))
		var last time.Duration
		for range 6 {
			b.wantClasses(t, message(), "requeued")
			if b.Up() {
				t.Fatal("a throttled relay gets more mail")
			}
			start := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took < last {
				t.Errorf("pause of %s after one of %s", took, last)
			} else {
				last = took
			}
			synctest.Wait()
		}
		full.Store(false)
		b.wantClasses(t, message(), "delivered")
		full.Store(true)
		b.wantClasses(t, message(), "requeued")
		start := time.Now()
		if err := b.Wait(t.Context()); err != nil || time.Since(start) > time.Second {
			t.Errorf("pause of %s after mail had worked (%v)", time.Since(start), err)
		}
	})
}

// TestCrowded: if a session is refused while others work, fewer are used for a
// while, and the message waits for one of those.
func TestCrowded(t *testing.T) {
	t.Parallel()
	for verb, reply := range map[string]string{
		"CONNECT": "421 4.7.0 too many connections", "EHLO": "450 4.3.2 busy", "MAIL": "421 4.7.0 too many connections",
	} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { crowd(t, verb, reply) })
		})
	}
}

func crowd(t *testing.T, verb, reply string) {
	var lenient atomic.Bool
	release := make(chan struct{})
	b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb == "DOT" && st.Session <= 2 && st.Message == 1:
			return &smtptest.Answer{Until: release, Reply: "250 ok"}
		case st.Verb == verb && st.Session > 2 && !lenient.Load():
			return &smtptest.Answer{Reply: reply, HangUp: true}
		}
		return nil
	}))
	got := make(chan string, 5)
	for range 5 {
		go func() { got <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
	}
	if !b.Up() {
		t.Fatalf("the circuit opened while two sessions work:\n%s", b.log)
	}
	close(release)
	counts := map[string]int{}
	for range 5 {
		counts[<-got]++
	}
	// At MAIL the message itself was refused; earlier it waited.
	if verb == "MAIL" && counts["requeued"] == 0 || verb != "MAIL" && counts["delivered"] != 5 {
		t.Errorf("outcomes %v", counts)
	}
	refused := b.server.Sessions()
	lenient.Store(true)
	time.Sleep(crowdedFor + time.Second)
	b.pool.mu.Lock()
	defer b.pool.mu.Unlock()
	if b.pool.limit != b.cfg.MaxSessions || refused > 5 {
		t.Errorf("limit %d after a minute, %d sessions tried", b.pool.limit, refused)
	}
}

// TestConnectionLimit: a relay allows two sessions, and turns others away in any way
// that there is. The two go on, and the relay is not called down.
func TestConnectionLimit(t *testing.T) {
	t.Parallel()
	refused := smtptest.Answer{Reply: "554 5.7.0 too many connections", HangUp: true}
	for name, c := range map[string]struct {
		verb   string
		answer smtptest.Answer
	}{
		"closed": {"CONNECT", smtptest.Answer{HangUp: true}}, "554": {"CONNECT", refused}, "garbage": {"CONNECT", smtptest.Answer{Reply: "busy", HangUp: true}},
		"closed at EHLO": {"EHLO", smtptest.Answer{HangUp: true}}, "554 at EHLO": {"EHLO", refused}, "silence": {"CONNECT", smtptest.Answer{Stall: true}},
		"silence at EHLO": {"EHLO", smtptest.Answer{Stall: true}}, "421": {"CONNECT", smtptest.Answer{Reply: "421 4.7.0 too many", HangUp: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { limited(t, c.verb, c.answer) })
		})
	}
	for name, err := range map[string]error{"refused": syscall.ECONNREFUSED, "reset": syscall.ECONNRESET} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { limited(t, "", smtptest.Answer{}, err) })
		})
	}
}

// limited sends 60 messages to a relay that turns a third session away.
func limited(t *testing.T, verb string, a smtptest.Answer, refuses ...error) {
	change := func(c *Config) {
		shortPauses(c)
		if a.Stall {
			c.SessionAge, c.MessagesPerSession, c.Timeouts.Command = time.Hour, 1e6, time.Minute
		}
	}
	b := newPiped(t, change, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case st.Verb == "DOT":
			return &smtptest.Answer{Delay: 100 * time.Millisecond, Reply: "250 ok"}
		case st.Verb == verb && st.Session > 2: // the first two last as long as the test
			return &a
		}
		return nil
	}))
	if len(refuses) > 0 {
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			if b.server.Open() >= 2 {
				return nil, &net.OpError{Op: "dial", Err: refuses[0]}
			}
			return b.server.Pipe(), nil
		}
	}
	all := int64(60)
	if a.Stall {
		all = 20*int64(b.cfg.Timeouts.of("")/time.Second) + 60 // it takes long to notice
	}
	start := time.Now()
	var wg sync.WaitGroup
	var sent atomic.Int64
	for range 10 {
		wg.Go(func() {
			for sent.Add(1) <= all {
				if got := classes(b.Deliver(t.Context(), message())); got != "delivered" {
					t.Errorf("outcome %s", got)
				}
			}
		})
	}
	wg.Wait()
	ideal := time.Duration(all) * 50 * time.Millisecond
	if took := time.Since(start); took > ideal+time.Second || !b.Up() || b.log.count("level=WARN") > 0 || b.server.Sessions() > 100 {
		t.Errorf("took %s with %d sessions\n%s", took, b.server.Sessions(), b.log)
	}
}

// TestDownBehindSessions: idle sessions, and busy ones that wait, only look alive. If
// the relay is down, the circuit opens soon all the same.
func TestDownBehindSessions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		busy   int
		silent bool
		within time.Duration
	}{
		"idle": {0, false, time.Second}, "idle, silent": {0, true, 2 * time.Minute},
		"busy": {2, false, 3 * time.Minute}, "busy, silent": {2, true, 3 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { behind(t, c.busy, c.silent, c.within) })
		})
	}
}

func behind(t *testing.T, busy int, silent bool, within time.Duration) {
	var hold atomic.Bool
	b := newPiped(t, nil, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		if st.Verb != "DOT" {
			return nil
		}
		if hold.Load() {
			return &smtptest.Answer{Stall: true}
		}
		return &smtptest.Answer{Delay: time.Second, Reply: "250 ok"}
	}))
	var wg sync.WaitGroup
	for range 5 - busy {
		wg.Go(func() { b.Deliver(t.Context(), message()) })
	}
	wg.Wait()
	hold.Store(true)
	for range busy {
		go b.Deliver(t.Context(), message())
	}
	synctest.Wait()
	b.dialer.connect = func(ctx context.Context, _ string) (net.Conn, error) {
		if silent {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	// Those that are idle are dead, and those that are busy hang.
	for _, s := range b.pool.evict(func(*session) bool { return true }) {
		s.conn.Close()
		b.pool.mu.Lock()
		b.pool.busy--
		b.pool.idle = append(b.pool.idle, s)
		b.pool.mu.Unlock()
	}
	start := time.Now()
	b.wantClasses(t, message(), "requeued")
	if took := time.Since(start); b.Up() || took > within || b.log.count("level=WARN") != 1 {
		t.Errorf("up %v after %s\n%s", b.Up(), took, b.log)
	}
}

// TestPauseBeginsAnew: the pause grows while the relay is at fault, and is short again
// after a message was accepted, even by a session that was there before.
func TestPauseBeginsAnew(t *testing.T) {
	t.Parallel()
	c := newCircuit("relay.test", slog.New(slog.DiscardHandler), DefaultConfig())
	c.open(newError(mail.StageConnect, down, "is away", ""), time.Now())
	c.pause = 32 * time.Second
	c.worked()
	if c.pause != c.min {
		t.Errorf("pause %s", c.pause)
	}
}

// TestTrial: a relay that accepts sessions and refuses all mail is asked with one
// message at a time, ever more slowly, and the log says once that it refuses and once
// that it is over.
func TestTrial(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"MAIL", "RCPT", "DATA", "DOT"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { trial(t, verb) })
		})
	}
}

func trial(t *testing.T, verb string) {
	var asked atomic.Int64
	var repaired atomic.Bool
	b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
		switch {
		case repaired.Load():
		case st.Verb == verb:
			asked.Add(1)
			return &smtptest.Answer{Reply: "530 5.7.0 authentication required", Delay: time.Millisecond}
		case verb == "RCPT" && st.Verb == "DATA": // it was told in a group
			return &smtptest.Answer{Reply: "503 5.5.1 RCPT first"}
		}
		return nil
	}))
	b.wantClasses(t, message(), "requeued")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 10 { // as the worker does: wait for the relay, then try
		wg.Go(func() {
			for b.Wait(ctx) == nil && !repaired.Load() {
				if got := classes(b.Deliver(ctx, message())); got != "requeued" && !repaired.Load() {
					t.Errorf("outcome %s", got)
				}
			}
		})
	}
	wantLog(t, b.log, "relay .* wants credentials: 530 5.7.0")
	time.Sleep(9 * time.Minute)
	if n := asked.Load(); n < 10 || n > 20 {
		t.Errorf("asked %d times in 9 minutes", n)
	}
	if e, i := b.log.count("level=ERROR"), b.log.count("level=INFO"); e != 1 || i != 0 {
		t.Errorf("%d errors and %d infos:\n%s", e, i, b.log)
	}
	repaired.Store(true)
	cancel()
	wg.Wait()
	for !b.Up() {
		time.Sleep(time.Second)
	}
	b.wantClasses(t, message(), "delivered")
	if e, i := b.log.count("level=ERROR"), b.log.count("accepts mail again: sending resumes"); e != 1 || i != 1 {
		t.Errorf("%d errors and %d infos:\n%s", e, i, b.log)
	}
	b.wantClasses(t, message(), "delivered")
}

// TestTrialGoesOn: a message on trial that says nothing about the relay leaves the
// trial to the next one, and what waits for its turn can be left.
func TestTrialGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var first, hold atomic.Bool
		b := newPiped(t, shortPauses, smtptest.ByAddress(), smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Verb == "DOT" && first.CompareAndSwap(false, true):
				return &smtptest.Answer{Reply: "535 5.7.8 no more"}
			case st.Verb == "DOT" && hold.Load():
				return &smtptest.Answer{Until: release, Reply: "250 ok"}
			}
			return nil
		}))
		b.wantClasses(t, message(), "requeued")
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		b.wantClasses(t, message("550@x.test"), "failed") // it did not get to the dot
		m := message()
		m.Body = bodyFunc(func() (io.ReadCloser, error) { return nil, errors.New("gone") })
		b.wantClasses(t, m, "requeued")
		if !b.Up() || b.log.count("resumes") > 0 {
			t.Fatalf("up %v:\n%s", b.Up(), b.log)
		}
		hold.Store(true)
		trying, waiting := make(chan string), make(chan string)
		go func() { trying <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { waiting <- classes(b.Deliver(ctx, message())) }()
		synctest.Wait()
		cancel()
		if got := <-waiting; got != "requeued" {
			t.Errorf("left while it waited: %s", got)
		}
		go func() { waiting <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		if n := b.server.Sessions(); n != 2 {
			t.Errorf("%d sessions: two messages are tried", n)
		}
		close(release)
		if got := <-trying + " " + <-waiting; got != "delivered delivered" || b.log.count("resumes") != 1 {
			t.Errorf("%s\n%s", got, b.log)
		}
	})
}

// TestCircuitDropsSessions: while the circuit is open no session is kept, neither
// idle ones nor those given back.
func TestCircuitDropsSessions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var hold, full atomic.Bool
		b := newPiped(t, nil, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Verb == "DOT" && hold.Load():
				return &smtptest.Answer{Until: release, Reply: "250 ok"}
			case st.Verb == "MAIL" && full.Load():
				return &smtptest.Answer{Reply: "452 4.3.1 full"}
			}
			return nil
		}))
		hold.Store(true)
		got := make(chan string, 3)
		for range 3 {
			go func() { got <- classes(b.Deliver(t.Context(), message())) }()
			synctest.Wait()
		}
		// Two of the three end and leave idle sessions, one stays busy.
		release <- struct{}{}
		release <- struct{}{}
		<-got
		<-got
		hold.Store(false)
		full.Store(true)
		b.wantClasses(t, message(), "requeued")
		synctest.Wait()
		if busy, idle := b.pool.count(); busy != 1 || idle != 0 {
			t.Errorf("%d busy, %d idle, want 1 and none", busy, idle)
		}
		close(release)
		<-got
		synctest.Wait()
		if busy, idle := b.pool.count(); busy != 0 || idle != 0 || b.server.Open() != 0 {
			t.Errorf("%d busy, %d idle, %d connections while the circuit is open", busy, idle, b.server.Open())
		}
	})
}

// TestCircuitOldNews: work that began before the circuit closed says nothing about
// the relay as it is now.
func TestCircuitOldNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, shortPauses, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			switch {
			case st.Verb == "EHLO" && st.Session == 1: // slow to fail
				return &smtptest.Answer{Delay: 20 * time.Second, Reply: "530 5.7.0 who are you"}
			case st.Verb == "MAIL" && st.Session == 2:
				return &smtptest.Answer{Reply: "452 4.3.1 full"}
			}
			return nil
		}))
		slow := make(chan string, 1)
		go func() { slow <- classes(b.Deliver(t.Context(), message())) }()
		synctest.Wait()
		b.wantClasses(t, message(), "requeued")
		if err := b.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-slow; got != "requeued" || !b.Up() || b.log.count("level=WARN") != 1 || b.log.count("level=ERROR") != 0 {
			t.Errorf("outcome %s, up %v:\n%s", got, b.Up(), b.log)
		}
	})
}

// TestCircuitNews: a probe that meets another fault than before logs it, once.
func TestCircuitNews(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newPiped(t, func(c *Config) {
			shortPauses(c)
			credentials(c)
		}, smtptest.Auth("user", "else"))
		var started atomic.Bool
		b.dialer.connect = func(context.Context, string) (net.Conn, error) {
			if !started.Load() {
				return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
			}
			return b.server.Pipe(), nil
		}
		b.wantClasses(t, message(), "requeued")
		started.Store(true)
		time.Sleep(10 * time.Minute)
		if w, e := b.log.count("refused the connection"), b.log.count("refused the password"); w != 1 || e != 1 {
			t.Errorf("%d and %d lines, want one each:\n%s", w, e, b.log)
		}
	})
}

// TestRefusedConnection is what an administrator reads if nothing listens.
func TestRefusedConnection(t *testing.T) {
	t.Parallel()
	addr := freeport.Addr()
	log := &lines{}
	c := testConfig("smtp://" + addr)
	shortPauses(&c)
	c.PauseMin = 30 * time.Second
	r := newTestRelay(t, c, log)
	tx := r.Deliver(t.Context(), message())
	if classes(tx) != "requeued" || tx.Outcomes[0].Stage != "connect" || tx.Relay != addr {
		t.Errorf("%+v", tx)
	}
	want := "relay " + addr + " refused the connection: mail waits; start it or set SMTP_URL; trying again every 30s to 1m"
	if !strings.Contains(log.String(), `level=WARN msg="`+want+`"`) {
		t.Errorf("log is\n%swant %s", log, want)
	}
	tx = r.Deliver(t.Context(), message())
	if o := tx.Outcomes[0]; o.Reply != "waiting for the relay, which refused the connection" || o.Stage != "connect" {
		t.Errorf("outcome %+v", o)
	}
}

// TestWait ends with its context and with the relay.
func TestWait(t *testing.T) {
	t.Parallel()
	b := newBundle(t, smtptest.New(t, smtptest.On("CONNECT", smtptest.Answer{Reply: "554 no"})), nil)
	if err := b.Wait(t.Context()); err != nil {
		t.Errorf("Wait at a closed circuit: %v", err)
	}
	b.wantClasses(t, message(), "requeued")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a context that ended: %v", err)
	}
	done := make(chan error)
	go func() { done <- b.Wait(context.Background()) }()
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, errClosed) {
		t.Errorf("Wait at a closed relay: %v", err)
	}
}
