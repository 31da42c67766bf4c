package storm

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/stream"
)

// soaked is the mail of a soak: what is deferred once stays in the record, so
// it is the smaller part.
func soaked(n int) Mail {
	m := OneMail(n)
	if n%10 == 0 {
		m.To[0] = "451x1" + m.To[0][3:]
	}
	return m
}

// TestSoak sends mail at a steady rate and weighs the processes: what they
// weigh at most in the last third is what they weighed in the second.
func TestSoak(t *testing.T) {
	testrun.Beside(t)
	length := soakFor
	if d, err := time.ParseDuration(os.Getenv("SOAK")); err == nil {
		length = d // SOAK=10m make soak
	}
	s := begin(t, Config{Workers: 1})
	p := s.producer(4)
	p.Every = 80 * time.Millisecond
	soaking, enough := context.WithTimeout(t.Context(), length)
	defer enough()
	published := make(chan error, 1)
	go func() { published <- p.Publish(soaking, 1<<30, soaked) }()
	both := map[string]*Process{"broker": s.broker, "worker": s.workers[0]}
	weighed := map[string][]burden{}
	for range soakTimes {
		stream.Pause(t.Context(), length/time.Duration(soakTimes)) // the soak itself
		for name, x := range both {
			weighed[name] = append(weighed[name], weigh(t, x))
		}
	}
	<-published
	for name, all := range weighed {
		second, last := most(all[soakTimes/3:2*soakTimes/3]), most(all[2*soakTimes/3:])
		t.Logf("%s: first %v; second third at most %v; last third at most %v", name, all[0], second, last)
		if last.goroutines > second.goroutines+20 || last.descriptors > second.descriptors+20 {
			t.Errorf("%s: goroutines or descriptors grow: %v, then %v", name, second, last)
		}
		if last.mib > second.mib+second.mib/5+8 {
			t.Errorf("%s: memory grows: %v, then %v", name, second, last)
		}
	}
	r := s.settled(t, p)
	none(t, "lost", r.Lost)
	none(t, "sent twice", r.Twice)
}
