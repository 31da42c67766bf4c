package storm

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/postrider/postrider/stream"
	"github.com/postrider/postrider/wire"
)

// StepDowns has leaders of a cluster step down, one after the other at random times,
// every so often on average, until ctx ends. It returns how many did.
//
// They are the leaders of what mail needs on its way: the streams and consumers of its
// lane, and the stream of records.
func StepDowns(ctx context.Context, nc *nats.Conn, every time.Duration) (n int) {
	led := []string{"STREAM.LEADER.STEPDOWN." + wire.StreamRecord}
	for _, s := range lane.Sources() {
		led = append(led, "STREAM.LEADER.STEPDOWN."+s.Stream, "CONSUMER.LEADER.STEPDOWN."+s.Stream+"."+s.Consumer)
	}
	for {
		for _, i := range rand.Perm(len(led)) {
			if !stream.Pause(ctx, rand.N(2*every)) {
				return n
			}
			if stepDown(ctx, nc, led[i]) == nil { // else there is an election already
				n++
			}
		}
	}
}

func stepDown(ctx context.Context, nc *nats.Conn, request string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "$JS.API."+request, nil)
	if err != nil {
		return err
	}
	var answer struct {
		Success bool            `json:"success"`
		Error   json.RawMessage `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return err
	}
	if !answer.Success {
		return fmt.Errorf("%s: %s", request, answer.Error)
	}
	return nil
}
