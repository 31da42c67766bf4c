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
	// A slower answer is not used: its error may be half the time it took.
	clockMaxTrip = time.Second
)

// clock is the broker's clock. Enqueue times and schedules go by it, because the
// clocks of machines differ. Between two answers of the broker it advances with
// the monotonic clock, so that it does not jump when the local clock is set.
type clock struct {
	last atomic.Pointer[reading] // nil before the first answer
}

// reading is the broker's time at a local time.
type reading struct{ broker, local time.Time }

func (k *clock) now() time.Time {
	r := k.last.Load()
	if r == nil {
		return time.Now()
	}
	return r.broker.Add(time.Since(r.local))
}

// measure asks the broker once. If the answer cannot be used, the previous one
// remains.
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

// offset is how far the broker's clock is ahead, if the answer was written half
// way through the trip.
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
			// The connection reports a broker that is away.
			_ = k.measure(ctx, ask)
		}
	}
}

// Skew asks the broker for its time. The result is how far its clock is ahead of
// the local one, plus or minus margin. It fails with [stream.ErrAway].
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
