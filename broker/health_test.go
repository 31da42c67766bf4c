package broker

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

func TestLacking(t *testing.T) {
	t.Parallel()
	on, off := &jetstream.PeerInfo{}, &jetstream.PeerInfo{Offline: true}
	for _, c := range []struct {
		leader string
		peers  []*jetstream.PeerInfo
		want   string
	}{
		{"a", nil, ""}, {"a", []*jetstream.PeerInfo{on, on}, ""}, {"a", []*jetstream.PeerInfo{on, off}, ""},
		{"a", []*jetstream.PeerInfo{off, off}, "1 of the 3 servers with MAIL_RECORD seem"},
		{"", []*jetstream.PeerInfo{off, on, off}, "1 of the 3 servers with MAIL_RECORD seem"},
		{"", []*jetstream.PeerInfo{on, on, off}, "no leader or quorum: 2 of the 3 servers with MAIL_RECORD seem to be online"},
		{"a", []*jetstream.PeerInfo{on, on, off, off}, ""},
		{"a", []*jetstream.PeerInfo{on, off, off, off}, "2 of the 5 servers"},
		{"", []*jetstream.PeerInfo{off}, "0 of the 1 servers"},
	} {
		err := lacking(&jetstream.ClusterInfo{Leader: c.leader, Replicas: c.peers})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q with %d others: %v, want %q", c.leader, len(c.peers), err, c.want)
		}
	}
}
