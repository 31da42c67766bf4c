package broker

import (
	"fmt"
	"strings"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/postrider/postrider/wire"
)

// The embedded broker's accounts. Streams and workers live in one, producers
// in the other, and all that leads across is the service mail.send.<lane>.
// A permission on a subject would not be enough: a producer in the streams'
// account plants messages by a reply subject, because the server writes its
// PubAck there, and reads workers' replies through _INBOX.>.
const (
	mailAccount     = "MAIL"
	producerAccount = "PRODUCERS"
)

// What producers may have at once, so that the memory and the open files of a
// process that workers live in too are not theirs to use up: connections of all
// of them together, and subscriptions a connection, which waits for its answers
// with one.
const (
	maxProducers     = 4000
	maxSubscriptions = 1000
)

// configureAccounts adds both accounts and their users, by public keys. With
// open set a client without credentials is a producer.
//
// In their own account producers still share the subscriptions to _INBOX.>:
// one can see the acknowledgements of another, which hold a stream's name and
// a sequence, and by a reply subject can have one for a mail of its own sent
// there. Producers that do not trust each other need accounts of their own.
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
		producerAccount, strings.Join(imports, ", "), maxProducers, maxSubscriptions, producer, Publisher)
	if open {
		text += "no_auth_user: " + producer + "\n"
	}
	if err := opts.ProcessConfigString(text); err != nil {
		return fmt.Errorf("set up the embedded broker's accounts: %w", err)
	}
	return nil
}
