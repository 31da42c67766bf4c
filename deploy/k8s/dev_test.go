package k8s

import (
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postrider/postrider/internal/storm"
	"github.com/postrider/postrider/internal/testrun"
)

// live is dev as it runs, but for Kubernetes: its NATS from its own files, a
// worker with its own variables, and the development relay.
type live struct {
	*cluster
	s      *system
	worker *storm.Process
	env    map[string]string // the worker's
	admin  string            // its host:port
	sent   string            // directory of the relay's mail
}

func startDev(t *testing.T, over map[string]string, edit func(accounts string) string) *live {
	t.Helper()
	s := render(t, "dev")
	l := &live{s: s, cluster: startCluster(t, s, edit), sent: filepath.Join(t.TempDir(), "sent")}
	relay := start(t, nil, "relay", "worker", "devrelay", "--listen", "127.0.0.1:0", "--dir", l.sent)
	url := awaitLine(t, relay.Out, `SMTP_URL=(\S+)`)[1]
	set := map[string]string{"NATS_URL": l.url, "SMTP_URL": url, "POSTRIDER_ADMIN": "127.0.0.1:0", "POSTRIDER_RETRY_AFTER": "300ms"}
	maps.Copy(set, over)
	l.env = s.environment(t, s.worker(t), t.TempDir(), set)
	return l
}

func (l *live) startWorker(t *testing.T) {
	t.Helper()
	l.worker = start(t, l.env, "worker", "worker")
	l.admin = awaitLine(t, l.worker.Out, `"msg":"worker started".*"admin":"([^"]+)"`)[1]
}

// as is the environment of a user of the cluster, as docs/operations.md tells
// people to set it.
func (l *live) as(user string) map[string]string {
	data, _ := l.s.secret(l.natsSecret())
	return map[string]string{"NATS_URL": l.url, "NATS_USER": user, "NATS_PASSWORD": string(data[strings.ToUpper(user)+"_PASSWORD"])}
}

// natsSecret is the name of the Secret with the passwords, which ends in a hash.
func (l *live) natsSecret() string {
	for _, p := range l.s.pods() {
		for _, e := range p.Spec.Containers[0].EnvFrom {
			if e.SecretRef != nil {
				return e.SecretRef.Name
			}
		}
	}
	return ""
}

// publish publishes as the producers' user.
func (l *live) publish(t *testing.T, id, to string) {
	t.Helper()
	out, stderr, status := run(t, l.as("producer"), "publish", "--from", "a@example.com", "--to", to, "--text", "hi", "--id", id)
	if status != 0 || !strings.HasPrefix(out, "queued "+id) {
		t.Fatalf("publish: status %d: %s%s", status, out, stderr)
	}
}

// publishFirst publishes what a newcomer's first mail is made by.
func (l *live) publishFirst(t *testing.T) {
	t.Helper()
	c := firstMail(t).Spec.Template.Spec.Containers[0]
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
		if from := e.ValueFrom; from != nil {
			data, _ := l.s.secret(from.SecretKeyRef.Name)
			env[e.Name] = string(data[from.SecretKeyRef.Key])
		}
	}
	env["NATS_URL"] = l.url
	if out, stderr, status := run(t, env, c.Command[0], c.Args...); status != 0 {
		t.Fatalf("publish: status %d: %s%s", status, out, stderr)
	}
}

// send sends a mail for each fate, and waits for it.
func (l *live) send(t *testing.T) {
	t.Helper()
	l.publishFirst(t)
	l.publish(t, "kept", "ann@example.net")
	l.publish(t, "later", "451@example.net")
	l.publish(t, "dead", "550@example.net")
	for _, line := range []string{`"delivered","id":"[0-9a-f-]{36}"`, `"delivered","id":"kept"`, `"deferred","id":"later"`, `"delivered","id":"later"`, `"failed","id":"dead"`} {
		awaitLine(t, l.worker.Out, `"msg":`+line)
	}
}

// TestDev: what one command sets up delivers, defers, buries and replays, each
// program with the least that its user may, and the probes and metrics are where
// the manifests say.
func TestDev(t *testing.T) {
	l := startDev(t, nil, nil)
	l.startWorker(t)
	l.send(t)
	if mail, err := os.ReadDir(l.sent); err != nil || len(mail) != 3 {
		t.Errorf("the relay has %d mails, %v", len(mail), err)
	}

	t.Run("three replicas", l.threeReplicas)
	t.Run("postrider as operator", func(t *testing.T) { l.postrider(t, l.as("operator")) })
	t.Run("postrider beside the worker", func(t *testing.T) { l.postrider(t, l.env) })
	t.Run("nothing without leave", l.log.none)
	t.Run("probes", l.probes)
	t.Run("metrics", l.metrics)
	t.Run("operators", l.operatorCannot)
	t.Run("producers", l.producerCannot)

	if err := l.worker.End(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := l.worker.Cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the worker ends with %d", code)
	}
	// A subject that a worker may not use is no error of its own: the broker
	// says so on the side.
	log := string(readFile(t, l.worker.Out)) + string(readFile(t, l.worker.Err))
	for _, bad := range []string{"ermissions", "cannot be read", "interrupted", "left in its stream"} {
		if i := strings.Index(log, bad); i >= 0 {
			t.Errorf("the worker says: …%s…", log[max(0, i-300):min(len(log), i+300)])
		}
	}
}

// postrider looks at everything and replays, as that user.
func (l *live) postrider(t *testing.T, env map[string]string) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"status"}, "normal"},
		{[]string{"status"}, "workers: 1 ("},
		{[]string{"show", "kept"}, "delivered"},
		{[]string{"events", "--since", "1h"}, "deferred"},
		{[]string{"dead", "list"}, "550 5.1.1"},
		{[]string{"dead", "show", "dead"}, "550@example.net"},
		{[]string{"dead", "replay", "dead"}, "dead"},
	} {
		out, stderr, status := run(t, env, "postrider", c.args...)
		if status != 0 || !strings.Contains(out, c.want) {
			t.Errorf("postrider %v: status %d: %s%s", c.args, status, out, stderr)
		}
	}
	out, stderr, _ := run(t, env, "postrider", "doctor")
	for _, want := range []string{"10 streams of 3 lanes: as they must be", "of 9.0 GiB are stored"} {
		if strings.Contains(out, "problem ") || !strings.Contains(out, want) {
			t.Errorf("postrider doctor: %s%s; want %q", out, stderr, want)
		}
	}
	// It dies again, for whoever looks next.
	testrun.Eventually(t, "the replayed mail dies again", time.Minute, func() bool {
		out, _, _ := run(t, env, "postrider", "dead", "list")
		return strings.Contains(out, "550 5.1.1")
	})
}

// probes asks what the kubelet would.
func (l *live) probes(t *testing.T) {
	for _, p := range probes(l.s.worker(t).Spec.Template.Spec.Containers[0]) {
		want := "ok\n"
		if p.HTTPGet.Path == "/readyz" {
			want = "ready\n"
		}
		if status, body := get(t, "http://"+l.admin+p.HTTPGet.Path); status != 200 || body != want {
			t.Errorf("%s answers %d %s", p.HTTPGet.Path, status, body)
		}
	}
}

// TestVerify: workers that create nothing need no leave to, and start on what
// "worker provision" made with another credential.
func TestVerify(t *testing.T) {
	const from, to = "# Not needed by workers with POSTRIDER_PROVISION=verify.", "]"
	l := startDev(t, map[string]string{"POSTRIDER_PROVISION": "verify"}, func(accounts string) string {
		before, rest, _ := strings.Cut(accounts, from)
		_, after, _ := strings.Cut(rest, to)
		admin := fmt.Sprintf("users: [{user: provision, password: %q}", "dev-provision")
		return strings.Replace(before+to+after, "users: [", admin, 1)
	})
	env := map[string]string{"NATS_URL": l.url, "NATS_USER": "provision", "NATS_PASSWORD": "dev-provision", "POSTRIDER_REPLICAS": "3"}
	if out, stderr, status := run(t, env, "worker", "provision"); status != 0 {
		t.Fatalf("provision: status %d: %s%s", status, out, stderr)
	}
	l.startWorker(t)
	l.send(t)
	l.postrider(t, l.env)
	l.log.none(t)
}

// TestRelayListens: the relay's own arguments, as its pod gives them.
func TestRelayListens(t *testing.T) {
	t.Parallel()
	for _, p := range render(t, "dev").pods() {
		if p.name != "Deployment relay" {
			continue
		}
		c, dir := p.Spec.Containers[0], t.TempDir()
		args := strings.Join(c.Args, " ")
		args = strings.NewReplacer(":2525", "127.0.0.1:0", c.VolumeMounts[0].MountPath, dir).Replace(args)
		r := start(t, map[string]string{"POSTRIDER_LOG_FORMAT": "json"}, "relay", "worker", strings.Fields(args)...)
		addr := awaitLine(t, r.Out, `"listen":"([^"]+)"`)[1]
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		return
	}
	t.Fatal("there is no Deployment relay")
}
