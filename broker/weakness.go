package broker

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
)

// Weakness is what weakens the promise although everything works.
type Weakness struct {
	// Found says in a sentence what was found and what may happen, Do what to do.
	Found, Do string
}

// String is both, for the log.
func (w Weakness) String() string { return w.Found + ": " + w.Do }

// All weaknesses.
var (
	singleReplica = Weakness{
		"streams have one replica on a broker that does not say whether it syncs its writes; if it does not, a power cut loses acknowledged mail",
		"set sync_interval: always in its jetstream settings (if it is set, nothing is to be done), or use three replicas (POSTRIDER_REPLICAS=3)",
	}
	sharedAccount = Weakness{
		"producers share the account $G with the streams, so that any of them can, by a reply subject, plant or overwrite mail and dead letters",
		"give them an account of their own that imports the service mail.send.*",
	}
)

// writes is the weakness of a broker that may lose acknowledged mail in a power
// cut, by the server's name; nil for none. single: some stream has one replica.
func writes(server string, single bool) *Weakness {
	if _, embedded := ownerOf(server); !embedded && single {
		return &singleReplica
	}
	return nil
}

// globalAccount is the account of all clients if none are set up.
const globalAccount = "$G"

// producers is the weakness of a broker whose producers cannot have an account of
// their own, because there is only one; nil for none.
func producers(account string) *Weakness {
	if account == globalAccount {
		return &sharedAccount
	}
	return nil
}

// accountName is the account of the streams; empty if the broker does not say.
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
