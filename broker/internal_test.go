package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// TestComplaints: refused credentials come twice a second and are logged once in 30 s,
// and a subject that is refused again and again once in ten minutes. What else the broker
// reports is logged each time.
func TestComplaints(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		c := &complaints{log: slog.New(slog.NewTextHandler(&said, nil)), variables: "NATS_CREDS"}
		for range 122 { // 61 s
			c.report(nil, nil, nats.ErrAuthorization)
			time.Sleep(500 * time.Millisecond)
		}
		c.report(nil, nil, nats.ErrSlowConsumer)
		c.report(nil, nil, nats.ErrSlowConsumer)
		if n := strings.Count(said.String(), "check NATS_CREDS"); n != 3 || strings.Count(said.String(), "\n") != 5 {
			t.Errorf("%d times in a minute:\n%s", n, said.String())
		}
		said.Reset()
		for range 61 { // 10 m
			c.report(nil, nil, fmt.Errorf("%w for Publish to \"a\"", nats.ErrPermissionViolation))
			time.Sleep(10 * time.Second)
		}
		c.report(nil, nil, fmt.Errorf("%w for Publish to \"b\"", nats.ErrPermissionViolation))
		if n := strings.Count(said.String(), `to \"a`); n != 2 || strings.Count(said.String(), "\n") != 3 {
			t.Errorf("%d times in ten minutes:\n%s", n, said.String())
		}
	})
}

func TestCheckServer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		version string
		level   int
		ok      bool
	}{
		{"2.12.6", 2, true}, {"2.12.7", 2, true}, {"2.13.0", 3, true}, {"2.15.2", 5, true}, {"3.0.0", 9, true},
		{"2.16.0-preview.1", 5, true}, {"v2.12.6", 2, true},
		{"2.12.5", 2, false}, {"2.11.9", 1, false}, {"2.9.25", 0, false}, {"1.99.99", 2, false},
		{"2.12.6", 1, false}, {"2.15.2", 0, false}, {"", 2, false}, {"2.12", 2, false}, {"nightly", 2, false},
	}
	for _, tt := range tests {
		err := checkServer(tt.version, tt.level)
		if (err == nil) != tt.ok {
			t.Errorf("checkServer(%q, %d) = %v, want ok %v", tt.version, tt.level, err, tt.ok)
		}
		if err != nil && (!errors.Is(err, ErrOldServer) || !strings.Contains(err.Error(), tt.version) || !strings.Contains(err.Error(), minVersion)) {
			t.Errorf("checkServer(%q, %d) = %v, want ErrOldServer with both versions", tt.version, tt.level, err)
		}
	}
}

// TestFullest: an account with a limit for each number of replicas is as full as
// the tier whose limit comes first; what has no limit fills nothing.
func TestFullest(t *testing.T) {
	t.Parallel()
	tier := func(store uint64, limit int64) jetstream.Tier {
		return jetstream.Tier{Store: store, Limits: jetstream.AccountLimits{MaxStore: limit}}
	}
	for _, tt := range []struct {
		one         jetstream.Tier
		tiers       map[string]jetstream.Tier
		used, limit uint64
	}{
		{tier(7, 10), nil, 7, 10},
		{tier(7, -1), nil, 7, 0},
		{tier(97, 0), map[string]jetstream.Tier{"R1": tier(90, -1), "R3": tier(7, 10)}, 7, 10},
		{tier(97, 0), map[string]jetstream.Tier{"R1": tier(1, 100), "R3": tier(9, 10)}, 9, 10},
		{tier(97, 0), map[string]jetstream.Tier{"R1": tier(97, -1)}, 97, 0},
	} {
		got := fullest(&jetstream.AccountInfo{Tier: tt.one, Tiers: tt.tiers})
		if got.Store != tt.used || limitOf(got) != tt.limit {
			t.Errorf("%v %v: %d of %d, want %d of %d", tt.one, tt.tiers, got.Store, limitOf(got), tt.used, tt.limit)
		}
	}
}

func TestRoomSums(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	parts := []struct {
		reserved       uint64 // per cent, the log's ten among them
		lanes, missing int
		want           int64 // per cent
	}{
		{10, 1, 1, 60}, {10, 3, 3, 20}, {10, 6, 6, 10},
		{70, 2, 1, 20}, // the first lane took all sixty
		{70, 4, 1, 15}, {85, 5, 1, 5}, {80, 4, 2, 5},
		{90, 6, 1, 0}, {120, 6, 1, 0}, {70, 3, 0, 20},
	}
	for _, tt := range parts {
		if got := newLanePart(100*gib, tt.reserved*gib, tt.lanes, tt.missing); got != tt.want*gib {
			t.Errorf("newLanePart with %d %% given away, %d of %d lanes missing = %d, want %d GiB", tt.reserved, tt.missing, tt.lanes, got, tt.want)
		}
	}
	for n := 1; n <= 20; n++ {
		const limit = 12345678901
		if sum := lanePart(limit, n)*int64(n) + eventPart(limit); sum > limit*7/10 {
			t.Errorf("%d lanes and the log have %d of %d", n, sum, limit)
		}
	}
}

func TestClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		type answer struct {
			ahead, trip time.Duration
			err         error
		}
		var (
			k    clock
			next atomic.Pointer[answer]
		)
		ask := func(context.Context) (time.Time, error) {
			a := next.Load()
			time.Sleep(a.trip / 2) // in the bubble's time
			at := time.Now().Add(a.ahead)
			time.Sleep(a.trip / 2)
			return at, a.err
		}
		want := func(d time.Duration) {
			t.Helper()
			if got := time.Until(k.now()); got != d {
				t.Errorf("the clock is %v ahead, want %v", got, d)
			}
		}
		const trip = 200 * time.Millisecond
		want(0)
		next.Store(&answer{ahead: 3 * time.Second, trip: trip})
		if err := k.measure(t.Context(), ask); err != nil {
			t.Fatal(err)
		}
		want(3 * time.Second)

		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { k.run(ctx, ask); close(done) }()
		step := func(a answer) {
			next.Store(&a)
			time.Sleep(clockInterval + 5*time.Second)
			synctest.Wait()
		}
		step(answer{ahead: -time.Minute, trip: trip})
		want(-time.Minute)
		step(answer{ahead: time.Hour, trip: trip, err: errors.New("away")})
		want(-time.Minute)
		step(answer{ahead: time.Hour, trip: 3 * time.Second}) // too slow to tell
		want(-time.Minute)
		step(answer{ahead: time.Second, trip: trip})
		want(time.Second)
		cancel()
		<-done
	})
}

func TestRefusedProvisioning(t *testing.T) {
	t.Parallel()
	api := func(code jetstream.ErrorCode) error { return &jetstream.APIError{ErrorCode: code} }
	tests := []struct {
		err  error
		want error
		says string
	}{
		{api(10005), nil, "POSTRIDER_REPLICAS"}, {api(10074), nil, "POSTRIDER_REPLICAS"}, {api(10065), ErrForeign, "same subjects"},
		{jetstream.ErrStreamNotFound, stream.ErrNoStream, ""}, {jetstream.ErrConsumerNotFound, stream.ErrNoConsumer, ""}, {api(10047), stream.ErrFull, ""}, {api(10008), stream.ErrAway, ""},
		{context.DeadlineExceeded, stream.ErrAway, ""}, {nats.ErrNoResponders, stream.ErrAway, ""}, {nats.ErrTimeout, stream.ErrAway, ""},
	}
	for _, tt := range tests {
		got := refused(tt.err)
		if !errors.Is(got, tt.err) || tt.want != nil && !errors.Is(got, tt.want) || !strings.Contains(got.Error(), tt.says) {
			t.Errorf("refused(%v) = %v, want %v saying %q", tt.err, got, tt.want, tt.says)
		}
	}
	for err, says := range map[error]string{
		&stream.APIError{Code: stream.CodeNotForAccount}:                       "account has no JetStream",
		&stream.APIError{Code: 10076}:                                          "server has no JetStream",
		fmt.Errorf("%w: %w", stream.ErrAway, nats.ErrNoResponders):             "nobody answers for JetStream",
		fmt.Errorf("%w in time: %w", stream.ErrAway, context.DeadlineExceeded): "$JS.API.INFO",
	} {
		if got := noJetStream(err); !strings.Contains(got.Error(), says) {
			t.Errorf("noJetStream(%v) = %v, want %q", err, got, says)
		}
	}
}

func TestEchoed(t *testing.T) {
	t.Parallel()
	for _, want := range (layout{lanes: []wire.Lane{"a"}}).streams() {
		if err := echoed(want, want); err != nil {
			t.Errorf("%s as asked for: %v", want.Name, err)
		}
		// What a server of 2.11 makes of it.
		have := want
		have.AllowMsgSchedules, have.AllowMsgTTL = false, false
		needs := want.AllowMsgSchedules || want.AllowMsgTTL
		if err := echoed(have, want); errors.Is(err, ErrOldServer) != needs {
			t.Errorf("%s with settings dropped: %v", want.Name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	if errs := DefaultConfig().Validate(); len(errs) != 0 {
		t.Errorf("the default configuration: %v", errs)
	}
	tests := map[string]struct {
		change func(*Config)
		names  []string // nil: valid
	}{
		"servers":               {func(c *Config) { c.URL = "nats://a, tls://b:4443,c" }, nil},
		"user in URL":           {func(c *Config) { c.URL = "nats://joe:hunter2@a" }, nil},
		"replicas in a cluster": {func(c *Config) { c.URL, c.Replicas = "a", 3 }, nil},
		"no listen with URL":    {func(c *Config) { c.URL, c.Listen, c.DataDir = "a", "", "" }, nil},
		"odd URL":               {func(c *Config) { c.URL = "nats://joe:hunter2@a:port" }, []string{"NATS_URL"}},
		"odd scheme":            {func(c *Config) { c.URL = "http://joe:hunter2@a" }, []string{"NATS_URL"}},
		"no host":               {func(c *Config) { c.URL = "nats://" }, []string{"NATS_URL"}},
		"two credentials":       {func(c *Config) { c.Creds, c.NKey = "a", "b" }, []string{"NATS_CREDS, NATS_NKEY"}},
		"user twice":            {func(c *Config) { c.URL, c.User = "joe:hunter2@a", "joe" }, []string{"NATS_USER, a user in NATS_URL"}},
		"password alone":        {func(c *Config) { c.Password = "hunter2" }, []string{"NATS_PASSWORD"}},
		"certificate alone":     {func(c *Config) { c.Cert = "a" }, []string{"NATS_CERT"}},
		"key alone":             {func(c *Config) { c.Key = "a" }, []string{"NATS_CERT, NATS_KEY"}},
		"listen":                {func(c *Config) { c.Listen = "4222" }, []string{"NATS_LISTEN"}},
		"directory":             {func(c *Config) { c.DataDir = "" }, []string{"POSTRIDER_DATA_DIR"}},
		"replicas embedded":     {func(c *Config) { c.Replicas = 3 }, []string{"POSTRIDER_REPLICAS"}},
		"replicas":              {func(c *Config) { c.URL, c.Replicas = "a", 6 }, []string{"POSTRIDER_REPLICAS"}},
		"negative replicas":     {func(c *Config) { c.Replicas = -1 }, []string{"POSTRIDER_REPLICAS"}},
		"provision":             {func(c *Config) { c.Provision = "maybe" }, []string{"POSTRIDER_PROVISION"}},
		"ack wait":              {func(c *Config) { c.AckWait = 999 * time.Millisecond }, []string{"POSTRIDER_ACK_WAIT"}},
		"all at once":           {func(c *Config) { *c = Config{} }, []string{"NATS_LISTEN", "POSTRIDER_DATA_DIR", "POSTRIDER_PROVISION", "POSTRIDER_ACK_WAIT"}},
	}
	for name, tt := range tests {
		cfg := DefaultConfig()
		tt.change(&cfg)
		errs := cfg.Validate()
		if len(errs) != len(tt.names) {
			t.Errorf("%s: %v, want errors about %v", name, errs, tt.names)
			continue
		}
		for i, err := range errs {
			if !strings.HasPrefix(err.Error(), tt.names[i]) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want an error about %s without the password", name, err, tt.names[i])
			}
		}
	}
}

func TestLoopback(t *testing.T) {
	t.Parallel()
	for addr, want := range map[string]bool{
		"127.0.0.1:4222": true, "127.8.8.8:1": true, "[::1]:4222": true, "localhost:4222": true,
		"0.0.0.0:4222": false, ":4222": false, "[::]:4222": false, "192.0.2.1:4222": false, "mail.example:4222": false, "127.0.0.1": false,
	} {
		if got := IsLoopback(addr); got != want {
			t.Errorf("IsLoopback(%q) = %v", addr, got)
		}
	}
	for listen, want := range map[string]string{
		"0.0.0.0:1": "127.0.0.1:1", ":1": "127.0.0.1:1", "[::]:1": "127.0.0.1:1", "192.0.2.1:1": "192.0.2.1:1", "localhost:1": "localhost:1",
	} {
		if got := Reachable(listen); got != want {
			t.Errorf("Reachable(%q) = %q, want %q", listen, got, want)
		}
	}
}

func TestDifferencesReadWell(t *testing.T) {
	t.Parallel()
	have := jetstream.StreamConfig{Name: "S", MaxAge: time.Hour, Subjects: []string{"a"}, AllowMsgTTL: true}
	want := jetstream.StreamConfig{Name: "S", MaxAge: 14 * day, Subjects: []string{"b"}, AllowMsgSchedules: true}
	got, err := differences(have, want)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{
		"max_age is 1h, must be 14d", `subjects is ["a"], must be ["b"]`,
		"allow_msg_schedules is not set, must be true", "allow_msg_ttl is true, must not be set",
	} {
		if !slices.Contains(got, s) {
			t.Errorf("differences = %q, want %q among them", got, s)
		}
	}
	if len(got) != 4 {
		t.Errorf("differences = %q, want four", got)
	}
}

func FuzzParseGreeting(f *testing.F) {
	f.Add(`INFO {"server_name":"a","version":"2.15.2"}`)
	f.Add("INFO {}\r\n")
	f.Add("220 mx ESMTP")
	f.Add("INFO [")
	f.Fuzz(func(t *testing.T, line string) {
		if g, ok := parseGreeting(line); ok && (g.Version == "" || !strings.HasPrefix(strings.TrimSpace(line), "INFO ")) {
			t.Errorf("parseGreeting(%q) = %+v", line, g)
		}
	})
}

func FuzzParseVersion(f *testing.F) {
	for _, s := range []string{"2.15.2", "v2.12.6-beta.1", "2.12", "2..1", "-1.2.3", "9999999999999999999.0.0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, ok := parseVersion(s); ok != (len(n) == 3) {
			t.Errorf("parseVersion(%q) = %v, %v", s, n, ok)
		}
	})
}

// TestLeaderlessIsWaitedFor: a cluster without a leader is waited for as long as it
// takes, as a broker that is away is; what does not answer at all for a minute.
func TestLeaderlessIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{
		noJetStream(&stream.APIError{Code: 10008}), refused(&jetstream.APIError{ErrorCode: 10008}),
	} {
		for away, want := range map[time.Duration]error{0: nil, time.Hour: stream.ErrAway} {
			synctest.Test(t, func(t *testing.T) {
				c := &Conn{nc: &nats.Conn{}, log: slog.New(slog.DiscardHandler)}
				began := time.Now()
				err := c.WhenFormed(t.Context(), func() error {
					switch passed := time.Since(began); {
					case passed < 10*time.Minute:
						return refusal
					case passed < 10*time.Minute+away:
						return stream.ErrAway
					}
					return nil
				})
				if passed := time.Since(began); !errors.Is(err, want) || passed < 10*time.Minute || passed > 12*time.Minute {
					t.Errorf("after %s: %v, want %v", passed, err, want)
				}
			})
		}
	}
	if s := noJetStream(&stream.APIError{Code: 10008}).Error(); !strings.Contains(s, "has no leader") || strings.Contains(s, "leave") {
		t.Error(s)
	}
}
