package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

var bin string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "postrider-bin")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		testrun.OnAbort(func() { _ = os.RemoveAll(dir) })
		if err := storm.Build(filepath.Join("..", ".."), dir+string(filepath.Separator), nil, "./cmd/worker"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		return testrun.Tests{M: m, AtOnce: 2}.Run()
	}())
}

// small is a bench that takes little time.
func small(t *testing.T) bench {
	t.Helper()
	return bench{dir: t.TempDir(), program: filepath.Join(bin, "worker"), yard: 20 * time.Millisecond, least: 30, most: 50, scale: 2, traced: 20}
}

// TestRows: each way in has its figures, and nothing is left.
func TestRows(t *testing.T) {
	t.Parallel()
	b := small(t)
	rows, err := b.rows(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != len(ways) {
		t.Fatalf("%d rows: %+v", len(rows), rows)
	}
	for _, r := range rows {
		if r.mails < 60 || r.mails > 100 || r.perSecond <= 0 || r.syncs <= 0 || r.cpu <= 0 || len(r.twice) > 0 {
			t.Errorf("%+v", r)
		}
		// A mail is stored before it is acknowledged, but several share a sync.
		if r.uncounted == "" && (r.fsyncs <= 0.1 || r.fsyncs > 20) {
			t.Errorf("%s: %.2f fsyncs of a message", r.way, r.fsyncs)
		}
		t.Logf("%+v", r)
	}
	if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestCompare: Postfix and workers deliver the same mails to a relay that is far away.
func TestCompare(t *testing.T) {
	t.Parallel()
	b := small(t)
	b.far = far{rtt: 4 * time.Millisecond, plain: true}
	all := rivals
	if _, err := exec.LookPath("postfix"); err != nil || os.Geteuid() != 0 {
		all = rivals[1:]
	}
	var out bytes.Buffer
	if err := b.compare(t.Context(), &out, all, 2, 30); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, s := range all {
		if n := strings.Count(out.String(), s.name+" "); n < 3 {
			t.Errorf("%s is there %d times", s.name, n)
		}
	}
	t.Logf("\n%s", &out)
	if left, err := os.ReadDir(b.dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v %v", left, err)
	}
}

// TestCases: each measures something.
func TestCases(t *testing.T) {
	t.Parallel()
	for name, measure := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := small(t)
			var out bytes.Buffer
			if err := measure(t.Context(), b, &out, 200); err != nil {
				t.Fatal(err)
			}
			if s := out.String(); !strings.HasPrefix(s, "200 mails") || strings.Contains(s, "NaN") {
				t.Error(s)
			}
			t.Log(out.String())
		})
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	all := map[string]float64{`x_bucket{le="1"}`: 10, `x_bucket{le="2"}`: 90, `x_bucket{le="4"}`: 90, `x_bucket{le="+Inf"}`: 100, `y_bucket{le="9"}`: 1}
	for q, want := range map[float64]float64{0.05: 0.5, 0.5: 1.5, 0.9: 2, 0.99: math.Inf(1)} {
		if got := quantile(all, "x", q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
}

// TestLongWay: what goes a long way arrives as late as it should, whole and in order, and
// much of it is under way at once.
func TestLongWay(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // it says what it hears
		c, err := l.Accept()
		if err == nil {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	const delay, parts = 20 * time.Millisecond, 50
	w, err := lengthen(l.Addr().String(), delay)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	c, err := net.Dial("tcp", w.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began, want := time.Now(), ""
	for i := range parts {
		part := strings.Repeat(strconv.Itoa(i), 1000)
		want += part
		if _, err := io.WriteString(c, part); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if took := time.Since(began); err != nil || string(got) != want || took < 2*delay || took > 10*delay {
		t.Errorf("%d of %d bytes in %s, %v", len(got), len(want), took, err)
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	if m := median([]float64{5, 1, 3}); m != 3 {
		t.Error(m)
	}
	if m := median([]float64{4, 1, 3, 2}); m != 2.5 {
		t.Error(m)
	}
}

// TestDoesNotStart: that is an error.
func TestDoesNotStart(t *testing.T) {
	t.Parallel()
	b := small(t)
	b.program = filepath.Join(b.dir, "none")
	if _, err := b.rows(t.Context()); err == nil || !strings.Contains(err.Error(), "Publish, 16 at once: ") {
		t.Errorf("%v", err)
	}
}

func TestSink(t *testing.T) {
	t.Parallel()
	s, err := newSink(2, far{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	take := func(id string) { s.received(&smtptest.Message{Rcpts: []string{id + domain}}) }
	take("m1")
	take("m1")
	late, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.wait(late); err == nil || !strings.Contains(err.Error(), "did not accept 1 of 2 mails") {
		t.Errorf("with one missing: %v", err)
	}
	began := time.Now()
	take("m2")
	take("m2")
	if last, err := s.wait(t.Context()); err != nil || last.Before(began) {
		t.Errorf("with all: %s %v", last, err)
	}
	if twice := s.twice(); !reflect.DeepEqual(twice, []string{"m1", "m2"}) {
		t.Errorf("twice: %v", twice)
	}
}

func TestCountSyncs(t *testing.T) {
	t.Parallel()
	trace := `10 fsync(9) = 0
11 fdatasync(9 <unfinished ...>
10 fsync(8) = 0
11 <... fdatasync resumed>) = 0
10 --- SIGURG {si_signo=SIGURG} ---
10 +++ exited with 0 +++
`
	if n := countSyncs([]byte(trace)); n != 3 {
		t.Errorf("%d, want 3", n)
	}
}

// TestRecord: what is written is read again, and the table shows it beside the new figures.
func TestRecord(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "recorded.json")
	if r, err := readRecord(file); err != nil || r.Ways != nil {
		t.Errorf("without a file: %+v %v", r, err)
	}
	rows := []row{{way: "PublishAll", mails: 500, perSecond: 1000, syncs: 3000, cpu: 0.51234, fsyncs: 2}}
	want := newRecord(rows, "abc1234", time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC))
	if err := want.write(file); err != nil {
		t.Fatal(err)
	}
	got, err := readRecord(file)
	if err != nil || !reflect.DeepEqual(got, want) || got.Ways["PublishAll"] != (figures{0.333, 0.512, 2}) {
		t.Errorf("%+v, want %+v: %v", got, want, err)
	}
	rows[0].perSecond, rows[0].uncounted, rows[0].twice = 1500, "strace is not installed", []string{"m7"}
	var out bytes.Buffer
	table(&out, rows, got)
	said := strings.Join(strings.Fields(out.String()), " ") // without the width of the columns
	for _, s := range []string{
		"PublishAll 500 1500 3000 0.5 (0.333, +50%) 0.512 (0.512, +0%) not counted: strace is not installed 1 ",
		"PublishAll, accepted twice: m7 ", "recorded 2026-11-30 at abc1234 on ",
	} {
		if !strings.Contains(said, s) {
			t.Errorf("no %q in\n%s", s, &out)
		}
	}
	out.Reset()
	table(&out, rows, record{})
	if s := out.String(); !strings.Contains(s, " 0.5  ") || !strings.Contains(s, "make pace RECORD=1") {
		t.Errorf("without a record:\n%s", s)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(file); err == nil {
		t.Error("half a file is a record")
	}
}
