package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/schema"
)

// Postfix as a null client with a relay host, in a directory of its own. It is tuned for
// this load: sessions are reused, nothing holds the intake back, no names are looked up, and
// headers are not looked at. As by default it syncs each mail before it takes it.
const (
	mainCF = `compatibility_level = 3.6
queue_directory = DIR/spool
data_directory = DIR/data
maillog_file = DIR/log
maillog_file_prefixes = DIR
myhostname = postfix.test
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = NEXT
smtp_tls_security_level = none
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
in_flow_delay = 0
default_process_limit = 200
default_destination_concurrency_limit = SESSIONS
initial_destination_concurrency = SESSIONS
qmgr_message_active_limit = 50000
qmgr_message_recipient_limit = 50000
smtp_connection_cache_on_demand = yes
smtp_connection_cache_destinations = NEXT
smtp_connection_reuse_count_limit = 1000
smtp_connection_cache_time_limit = 10s
smtp_connection_reuse_time_limit = 300s
max_use = 2000
local_header_rewrite_clients =
disable_mime_input_processing = yes
receive_override_options = no_header_body_checks, no_address_mappings
`
	masterCF = `LISTEN inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
verify    unix  - - n - 1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
relay     unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`
)

// postfix is Postfix, which gets mail over SMTP, over as many sessions as there are goroutines that
// publish.
var postfix = system{"Postfix", startPostfix}

// aPostfix is one that runs.
type aPostfix struct {
	*storm.Process
	dir, listen string
	// master is the process that the others are children of.
	master int
}

func startPostfix(_ bench, files, relay string, _ bool) (running, error) {
	owner, err := user.Lookup("postfix")
	if err != nil || os.Geteuid() != 0 {
		return running{}, errors.New("the package postfix must be installed, and needs root to start")
	}
	uid, err := strconv.Atoi(owner.Uid)
	if err != nil {
		return running{}, err
	}
	host, port, err := net.SplitHostPort(relay)
	if err != nil {
		return running{}, err
	}
	dir, err := os.MkdirTemp("", "pf") // a longer name would be too long for its sockets
	if err != nil {
		return running{}, err
	}
	p := &aPostfix{listen: freeport.Addr(), dir: dir}
	if err := p.start(files, uid, "["+host+"]:"+port); err != nil {
		p.kill()
		return running{}, err
	}
	return running{p.publish, p.cost, p.end, p.kill, p.log()}, nil
}

func (p *aPostfix) start(files string, uid int, next string) error {
	dir := p.dir
	fill := strings.NewReplacer("DIR", dir, "NEXT", next, "SESSIONS", sessions, "LISTEN", p.listen)
	etc := filepath.Join(dir, "etc")
	// Its processes have users of their own.
	for _, err := range []error{
		os.Chmod(dir, 0o755),                                                                                            //nolint:gosec // as said
		os.Mkdir(etc, 0o755), os.Mkdir(filepath.Join(dir, "spool"), 0o755), os.Mkdir(filepath.Join(dir, "data"), 0o755), //nolint:gosec // as said
		os.Chown(filepath.Join(dir, "data"), uid, -1),
		os.WriteFile(filepath.Join(etc, "main.cf"), []byte(fill.Replace(mainCF)), 0o644),     //nolint:gosec // as said
		os.WriteFile(filepath.Join(etc, "master.cf"), []byte(fill.Replace(masterCF)), 0o644), //nolint:gosec // as said
	} {
		if err != nil {
			return err
		}
	}
	// They complain about owners that matter only to a system's Postfix.
	_ = exec.Command("postfix", "-c", etc, "set-permissions").Run()
	_ = exec.Command("postfix", "-c", etc, "check").Run()
	var err error
	if p.Process, err = storm.Start("postfix", files, os.Environ(), "postfix", "-c", etc, "start-fg"); err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		c, err := gosmtp.Dial(p.listen)
		if err == nil {
			err = errors.Join(c.Quit(), p.findMaster())
		}
		if err == nil {
			return nil
		}
		if time.Since(began) > ready {
			return fmt.Errorf("it does not start: %w\n%s", err, running{output: p.log()}.said())
		}
	}
}

func (p *aPostfix) publish(_ context.Context, mails []*schema.Envelope) error {
	return spread(mails, func() (func(*schema.Envelope) error, func(), error) {
		c, err := gosmtp.Dial(p.listen)
		if err == nil {
			err = c.Hello("pace.test")
		}
		return func(e *schema.Envelope) error { return give(c, e) }, func() { _ = c.Quit() }, err
	})
}

// give sends a mail to an SMTP server.
func give(c *gosmtp.Client, e *schema.Envelope) error {
	m, err := compose.Compose(e, e.ID, time.Now())
	if err != nil {
		return err
	}
	body, err := m.Open()
	if err != nil {
		return err
	}
	defer body.Close()
	return c.SendMail(e.From.Email, []string{e.To[0].Email}, body)
}

func (p *aPostfix) findMaster() error {
	pid, err := os.ReadFile(filepath.Join(p.dir, "spool", "pid", "master.pid"))
	if err == nil {
		p.master, err = strconv.Atoi(string(bytes.TrimSpace(pid)))
	}
	return err
}

// cost is that of the master and its children.
func (p *aPostfix) cost() (c cost, err error) {
	if c.cpu, err = used(p.master, true); err != nil {
		return c, err
	}
	children, err := exec.Command("pgrep", "-P", strconv.Itoa(p.master)).Output()
	if err != nil {
		return c, err
	}
	for pid := range bytes.FieldsSeq(children) {
		n, err := strconv.Atoi(string(pid))
		if err != nil {
			return c, err
		}
		if cpu, err := used(n, true); err == nil { // else it has ended, and is its master's
			c.cpu += cpu
		}
	}
	return c, nil
}

func (p *aPostfix) end() (cost, error) {
	c, err := p.cost()
	p.kill()
	return c, err
}

// kill has the master end, and its children with it.
func (p *aPostfix) kill() {
	_ = exec.Command("postfix", "-c", filepath.Join(p.dir, "etc"), "stop").Run()
	if p.Process != nil {
		_ = p.End(syscall.SIGTERM)
	}
	_ = os.RemoveAll(p.dir)
}

func (p *aPostfix) log() string { return filepath.Join(p.dir, "log") }
