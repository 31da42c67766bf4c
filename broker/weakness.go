package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
)

// Weakness is what weakens the promise without breaking anything.
type Weakness struct {
	// Found is a sentence of what is so and what may come of it, Do what to do.
	Found, Do string
}

// String is the sentence for the log.
func (w Weakness) String() string { return w.Found + ": " + w.Do }

// The weaknesses there are.
var (
	unsyncedWrites = Weakness{
		"the embedded broker answers before mail is on the disk, so that a power cut loses acknowledged mail",
		"use a worker as it is shipped",
	}
	singleReplica = Weakness{
		"streams have one replica on a broker that does not say whether it syncs its writes; where it does not, a power cut loses acknowledged mail",
		"set sync_interval: always in its jetstream settings, or use three replicas (REPLICAS=3)",
	}
	sharedAccount = Weakness{
		"producers share the account $G with the streams, so that by a reply subject any of them can plant or overwrite mail and dead letters",
		"give them an account of their own that imports the service mail.send.*",
	}
)

// writes is what the promise lacks where acknowledged mail may not outlive a
// power cut; single reports that some stream has one replica.
func (c *Conn) writes(single bool) *Weakness {
	synced, embedded := embeddedName(c.nc.ConnectedServerName())
	switch {
	case embedded && !synced:
		return &unsyncedWrites
	case !embedded && single:
		return &singleReplica
	}
	return nil
}

// globalAccount is the one everybody is in where no accounts are set up.
const globalAccount = "$G"

// producers is what the promise lacks where they cannot be in an account of
// their own, because there is but one.
func producers(account string) *Weakness {
	if account == globalAccount {
		return &sharedAccount
	}
	return nil
}

// accountName is the account of the streams; empty where the broker does not say.
func (c *Conn) accountName(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	b, err := c.store.Request(ctx, &nats.Msg{Subject: "$SYS.REQ.USER.INFO"})
	if err != nil {
		return ""
	}
	var r struct {
		Data struct {
			Account string `json:"account"`
		} `json:"data"`
	}
	if json.Unmarshal(b, &r) != nil {
		return ""
	}
	return r.Data.Account
}
