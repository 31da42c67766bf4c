package queue_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestSearchPastUnreadableHeaders: one stranger's mail, whose NATS headers no
// client can read, does not hide the others'.
func TestSearchPastUnreadableHeaders(t *testing.T) {
	t.Parallel()
	b := newTestQueue(t, lane)
	b.publish(lane, "", envelope("before"))
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.broker.Config.URL, "nats://"))
	b.must(err)
	defer conn.Close()
	b.must(conn.SetDeadline(time.Now().Add(time.Minute)))
	const header = "NATS/1.0\r\nno field\r\n\r\n"
	_, err = fmt.Fprintf(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB _INBOX.raw 1\r\nHPUB %s _INBOX.raw %d %d\r\n%sx\r\n", lane.SendSubject(), len(header), len(header)+1, header)
	b.must(err)
	answers := bufio.NewScanner(conn)
	for answers.Scan() && !strings.HasPrefix(answers.Text(), `{"stream"`) {
		if strings.HasPrefix(answers.Text(), "-ERR") {
			t.Fatal(answers.Text())
		}
	}
	b.must(answers.Err())
	b.publish(lane, "", envelope("behind"))
	for _, id := range []string{"before", "behind"} {
		found, err := b.Search(t.Context(), id, func() {})
		if err != nil || len(found) != 1 {
			t.Errorf("%s: %d found, %v", id, len(found), err)
		}
	}
}
