package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/postrider/postrider/wire"
)

const (
	clockInterval = time.Minute
	// A slower answer tells too little: it may err by half its way.
	clockMaxTrip = time.Second
)

// clock is the broker's: enqueue times and schedules are by it, and machines
// differ. It goes on from the last answer by the time gone by since, so that it
// does not jump with the local clock.
type clock struct {
	last atomic.Pointer[reading]
}

// reading is what the broker's clock said at a local time.
type reading struct{ broker, local time.Time }

func (k *clock) now() time.Time {
	r := k.last.Load()
	if r == nil {
		return time.Now()
	}
	return r.broker.Add(time.Since(r.local))
}

// measure asks the broker once. Where the answer is no use the last one stands.
func (k *clock) measure(ctx context.Context, ask func(context.Context) (time.Time, error)) error {
	sent := time.Now()
	broker, err := ask(ctx)
	if err != nil {
		return err
	}
	if trip := time.Since(sent); trip <= clockMaxTrip {
		k.last.Store(&reading{broker, sent.Add(trip / 2)})
	}
	return nil
}

// offset is how far the broker's clock is ahead, its answer having been
// written half way through the trip.
func offset(sent time.Time, trip time.Duration, broker time.Time) time.Duration {
	return broker.Sub(sent.Add(trip / 2))
}

// run measures each minute until ctx ends.
func (k *clock) run(ctx context.Context, ask func(context.Context) (time.Time, error)) {
	tick := time.NewTicker(clockInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			// A broker that is away is somebody else's to report.
			_ = k.measure(ctx, ask)
		}
	}
}

// Skew asks the broker for its time: how far its clock is ahead of the local
// one, to within margin.
func (c *Conn) Skew(ctx context.Context) (skew, margin time.Duration, err error) {
	sent := time.Now()
	broker, err := c.brokerTime(ctx)
	if err != nil {
		return 0, 0, err
	}
	trip := time.Since(sent)
	return offset(sent, trip, broker), trip / 2, nil
}

// brokerTime is the `ts` of a stream info.
func (c *Conn) brokerTime(ctx context.Context) (time.Time, error) {
	b, err := c.store.API(ctx, "STREAM.INFO."+wire.StreamRecord, nil)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the broker for its time: %w", err)
	}
	var info struct {
		Time time.Time `json:"ts"`
	}
	if err := json.Unmarshal(b, &info); err != nil || info.Time.IsZero() {
		return time.Time{}, errors.New("ask the broker for its time: the answer has none")
	}
	return info.Time, nil
}
