package storm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/postrider/postrider/stream"
)

// Mail is what is published under an id.
type Mail struct {
	ID string
	To []string
}

// MixedMail is the mail of that number: one recipient, or three with three
// fates. Each address is its own, for the relay counts refusals by address.
func MixedMail(n int) Mail {
	m := Mail{ID: fmt.Sprintf("m%d", n)}
	at := fmt.Sprintf("@d%d.example", n)
	switch n % 8 {
	case 0:
		m.To = []string{"ann" + at, "450x1" + at, "550" + at}
	case 1:
		m.To = []string{"451x2" + at}
	case 2:
		m.To = []string{"550" + at}
	case 3:
		m.To = []string{"450x1" + at, "451x1" + at, "452x1" + at}
	default:
		m.To = []string{"ann" + at}
	}
	return m
}

// OneMail is the mail of that number to one recipient, whom the relay takes.
func OneMail(n int) Mail {
	return Mail{ID: fmt.Sprintf("m%d", n), To: []string{fmt.Sprintf("ann@d%d.example", n)}}
}

// Producer publishes as applications do: plain NATS clients without
// credentials, each publish tried again under its id until it is acknowledged.
type Producer struct {
	// URL is the broker's, or several of a cluster's, separated by commas.
	URL string
	// Clients publish at once, each over a connection of its own.
	Clients int
	// Every is the pause of one client between two mails.
	Every time.Duration
	next  atomic.Int64
	mu    sync.Mutex
	acked []Mail
}

// Acknowledged is the first book.
func (p *Producer) Acknowledged() []Mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Mail(nil), p.acked...)
}

// Publish publishes mails 0 to n-1 and returns once all are acknowledged or ctx
// ends.
func (p *Producer) Publish(ctx context.Context, n int, mail func(int) Mail) error {
	errs := make([]error, p.Clients)
	var clients sync.WaitGroup
	for i := range p.Clients {
		clients.Go(func() { errs[i] = p.client(ctx, n, mail) })
	}
	clients.Wait()
	return errors.Join(errors.Join(errs...), ctx.Err())
}

func (p *Producer) client(ctx context.Context, n int, mail func(int) Mail) error {
	// A cluster tells of addresses that need not be reachable from here.
	nc, err := nats.Connect(p.URL, nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.IgnoreDiscoveredServers())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for i := int(p.next.Add(1)) - 1; i < n && ctx.Err() == nil; i = int(p.next.Add(1)) - 1 {
		p.one(ctx, js, mail(i))
	}
	return nil
}

func (p *Producer) one(ctx context.Context, js jetstream.JetStream, m Mail) {
	body := fmt.Appendf(nil, `{"id":%q,"from":"app@example.com","to":["%s"],"subject":"storm","text":"hi"}`, m.ID, strings.Join(m.To, `","`))
	for ctx.Err() == nil {
		tctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := js.Publish(tctx, lane.SendSubject(), body, jetstream.WithMsgID(m.ID))
		cancel()
		if err == nil {
			p.mu.Lock()
			p.acked = append(p.acked, m)
			p.mu.Unlock()
			break
		}
		stream.Pause(ctx, 50*time.Millisecond)
	}
	stream.Pause(ctx, p.Every)
}
