package embedded

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/broker"
	"github.com/postrider/postrider/wire"
)

// The accounts. Streams and workers are in one, producers in the other, and only
// the service mail.send.<lane> leads across. A permission on a subject would not
// be enough: a producer in the streams' account plants messages by a reply
// subject, because the server writes its PubAck there, and reads workers'
// replies through _INBOX.>.
const (
	mailAccount     = "MAIL"
	producerAccount = "PRODUCERS"
)

// The connections of all producers together, and the subscriptions of each
// connection. They bound the memory and the open files that producers can use
// up in a process that has workers too. A producer waits for its answers with
// one subscription.
const (
	maxProducers     = 4000
	maxSubscriptions = 1000
)

// configureAccounts adds both accounts and their users, by public keys. If open
// is set, a client without credentials is a producer.
//
// Producers still share the subscriptions to _INBOX.> in their own account. One
// can see the acknowledgements of another, which hold a stream's name and a
// sequence, and can have one for a mail of its own sent there by a reply
// subject. Producers that do not trust each other need accounts of their own.
func configureAccounts(opts *server.Options, lanes []wire.Lane, operator, producer string, open bool) error {
	var exports, imports []string
	for _, l := range lanes {
		exports = append(exports, fmt.Sprintf("{service: %q, accounts: [%s]}", l.SendSubject(), producerAccount))
		imports = append(imports, fmt.Sprintf("{service: {account: %s, subject: %q}}", mailAccount, l.SendSubject()))
	}
	text := fmt.Sprintf(`
accounts {
  %s {
    jetstream: enabled
    exports: [%s]
    users: [{nkey: %s}]
  }
  %s {
    imports: [%s]
    limits {max_connections: %d, max_subscriptions: %d}
    users: [{nkey: %s, permissions: {publish: ["mail.send.*"], subscribe: ["_INBOX.>", "_INBOX_%s.>"]}}]
  }
}
`, mailAccount, strings.Join(exports, ", "), operator,
		producerAccount, strings.Join(imports, ", "), maxProducers, maxSubscriptions, producer, broker.Publisher)
	if open {
		text += "no_auth_user: " + producer + "\n"
	}
	if err := opts.ProcessConfigString(text); err != nil {
		return fmt.Errorf("set up the embedded broker's accounts: %w", err)
	}
	return nil
}
