package submit_test

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/schema"
	"github.com/postrider/postrider/submit"
)

// benchMails are so many mails of 10 KB, each with an ID of its own.
func benchMails(n int, ids *atomic.Int64) []*schema.Envelope {
	text := strings.Repeat("A line of the text of a mail of ten kilobytes.\n", 210)
	all := mails(n)
	for _, e := range all {
		e.ID, e.Text = strconv.FormatInt(ids.Add(1), 10), &text
	}
	return all
}

// roundMails are published in each round of a benchmark.
const roundMails = 3200

// report adds mails a second, and CPU seconds of client and broker for 1,000 mails.
func report(b *testing.B, cpuBefore time.Duration) {
	b.Helper()
	total := float64(roundMails * b.N)
	b.ReportMetric(total/b.Elapsed().Seconds(), "mails/s")
	b.ReportMetric((cpu(b)-cpuBefore).Seconds()/total*1000, "CPU-s/1000")
}

// cpu is the time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkPublish: 16 goroutines publish mail by mail.
func BenchmarkPublish(b *testing.B) {
	c, ids := submit.New(natstest.Start(b).Producer(b)), new(atomic.Int64)
	before := cpu(b)
	for b.Loop() {
		var all sync.WaitGroup
		for part := range slices.Chunk(benchMails(roundMails, ids), roundMails/16) {
			all.Go(func() {
				for _, e := range part {
					if _, err := c.Publish(b.Context(), normal, e); err != nil {
						b.Error(err)
					}
				}
			})
		}
		all.Wait()
	}
	report(b, before)
}

func BenchmarkPublishAll(b *testing.B) {
	c, ids := submit.New(natstest.Start(b).Producer(b)), new(atomic.Int64)
	before := cpu(b)
	for b.Loop() {
		for _, err := range c.PublishAll(b.Context(), normal, slices.Values(benchMails(roundMails, ids))) {
			if err != nil {
				b.Error(err)
			}
		}
	}
	report(b, before)
}
