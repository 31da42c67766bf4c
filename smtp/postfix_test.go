package smtp

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/freeport"
	"github.com/postrider/postrider/internal/smtptest"
	"github.com/postrider/postrider/internal/testrun"
	"github.com/postrider/postrider/mail"
)

// TestPostfix sends through a private Postfix, which relays to a scripted relay.
func TestPostfix(t *testing.T) {
	if testing.Short() {
		t.Skip("Postfix takes seconds to start")
	}
	sink := smtptest.New(t)
	r := newTestRelay(t, testConfig("smtp://"+startPostfix(t, sink.Addr())+"?tls=none"), &lines{})
	const n = 20
	for i := range n {
		m := mailWith(fmt.Sprintf("Subject: %d\r\nX-Bench: %d\r\n\r\n.dot\r\n", i, i), "a@x.test", "b@x.test")
		tx := r.Deliver(t.Context(), m)
		if classes(tx) != "delivered delivered" || tx.Outcomes[0].QueueID == "" || tx.Use != i+1 {
			t.Fatalf("message %d: %+v", i, tx)
		}
	}
	// A message that Postfix refuses by itself leaves the session usable.
	if tx := r.Deliver(t.Context(), message("nobody@refused.test")); tx.Outcomes[0].Class != mail.Failed || tx.Outcomes[0].Code != 554 {
		t.Errorf("refused: %+v", tx)
	}
	if tx := r.Deliver(t.Context(), message()); classes(tx) != "delivered" || tx.Use != n+2 {
		t.Errorf("after a refusal: %+v", tx)
	}
	testrun.Eventually(t, "all messages at the scripted relay", 30*time.Second, func() bool { return sink.Accepted() >= n+1 })
	for _, m := range sink.Messages() {
		if !strings.Contains(string(m.Data), "\r\n.dot\r\n") && !strings.Contains(string(m.Data), "\r\n..two\r\n") {
			t.Errorf("a message came out different: %q", m.Data)
		}
	}
}

// TestPostfixEndOfData sends every string of up to three tokens that could end a
// message to a Postfix that accepts bare line ends, as all did before
// CVE-2023-51764. Postfix must relay one message for each, with the same text.
func TestPostfixEndOfData(t *testing.T) {
	if testing.Short() {
		t.Skip("Postfix takes seconds to start")
	}
	const evil = "MAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@x.test>\r\nDATA\r\nSubject: evil\r\n\r\nevil\r\n"
	sink := smtptest.New(t)
	r := newTestRelay(t, testConfig("smtp://"+startPostfix(t, sink.Addr())+"?tls=none"), &lines{})
	want := map[string]string{}
	for _, end := range ends(3) {
		id := fmt.Sprintf("<%d@client.test>", len(want))
		body := end + "one\r\n" + end + evil + end
		want[id] = canonical([]byte(body))
		if tx := r.Deliver(t.Context(), mailWith("Subject: x\r\nMessage-ID: "+id+"\r\n\r\n"+body)); classes(tx) != "delivered" {
			t.Fatalf("%q: %+v", end, tx)
		}
	}
	testrun.Eventually(t, "all messages at the scripted relay", 30*time.Second, func() bool { return sink.Accepted() >= len(want) })
	messageID := regexp.MustCompile(`Message-ID: (<\d+@client\.test>)\r\n`)
	for _, m := range sink.Messages() {
		id := messageID.FindStringSubmatch(string(m.Data))
		_, body, _ := strings.Cut(string(m.Data), "\r\n\r\n")
		if id == nil || m.From != "sender@x.test" || body != want[id[1]] {
			t.Errorf("from %s: %q", m.From, m.Data)
			continue
		}
		delete(want, id[1])
	}
	if len(want) > 0 || sink.Accepted() != len(sink.Messages()) {
		t.Errorf("%d messages came out different or not at all", len(want))
	}
}

// ends are all strings of up to n of CR, LF, CRLF, dot and x. (A NUL is refused
// before smtp sees it.)
func ends(n int) []string {
	all, last := []string{""}, []string{""}
	for range n {
		var longer []string
		for _, s := range last {
			for _, token := range []string{"\r", "\n", "\r\n", ".", "x"} {
				longer = append(longer, s+token)
			}
		}
		all, last = append(all, longer...), longer
	}
	slices.Sort(all)
	return slices.Compact(all) // CR and LF make a CRLF
}

// startPostfix runs a private Postfix that relays to next; it returns its address.
func startPostfix(t *testing.T, next string) string {
	t.Helper()
	postfix := "/usr/sbin/postfix"
	skip := t.Skipf
	if os.Getenv("POSTRIDER_TEST_POSTFIX") == "required" {
		skip = t.Fatalf
	}
	if _, err := os.Stat(postfix); err != nil {
		skip("Postfix is not installed: %v", err)
	}
	owner, err := user.Lookup("postfix")
	if err != nil || os.Geteuid() != 0 {
		skip("Postfix needs root and the user postfix to start")
	}
	// t.TempDir is too long, and too private, for Postfix's daemons.
	dir, err := os.MkdirTemp("", "pf")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	for _, sub := range []string{"etc", "spool", "data"} {
		must(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	uid, err := strconv.Atoi(owner.Uid)
	must(t, err)
	must(t, os.Chown(filepath.Join(dir, "data"), uid, -1))
	addr := freeport.Addr()
	host, port, err := net.SplitHostPort(next)
	must(t, err)
	writePostfix(t, dir, addr, "["+host+"]:"+port)

	conf := filepath.Join(dir, "etc")
	// These complain about owners that matter only to a system's Postfix.
	_ = exec.Command(postfix, "-c", conf, "set-permissions").Run()
	_ = exec.Command(postfix, "-c", conf, "check").Run()
	// start returns once the master runs as a daemon; only stop ends it.
	if out, err := exec.Command(postfix, "-c", conf, "start").CombinedOutput(); err != nil {
		t.Fatalf("start Postfix: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command(postfix, "-c", conf, "stop").Run() })
	testrun.Eventually(t, "Postfix to greet", 30*time.Second, func() bool { return greets(addr) })
	return addr
}

func writePostfix(t *testing.T, dir, listen, next string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, "etc", "main.cf"), []byte(strings.NewReplacer("DIR", dir, "NEXT", next).Replace(`compatibility_level = 3.6
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
smtpd_peername_lookup = no
smtpd_forbid_bare_newline = no
smtpd_recipient_restrictions = check_recipient_access inline:{refused.test=REJECT}, permit_mynetworks, reject
`)), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "etc", "master.cf"), []byte(listen+` inet n - n - - smtpd
pickup    unix  n - n 60 1 pickup
cleanup   unix  n - n - 0 cleanup
qmgr      unix  n - n 300 1 qmgr
rewrite   unix  - - n - - trivial-rewrite
bounce    unix  - - n - 0 bounce
defer     unix  - - n - 0 bounce
trace     unix  - - n - 0 bounce
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n - - proxymap
smtp      unix  - - n - - smtp
showq     unix  n - n - - showq
error     unix  - - n - - error
retry     unix  - - n - - error
discard   unix  - - n - - discard
anvil     unix  - - n - 1 anvil
scache    unix  - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
`), 0o644))
}

func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(2*time.Second)) != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && strings.HasPrefix(line, "220")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
