package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/postrider/postrider/compose"
	"github.com/postrider/postrider/internal/natstest"
	"github.com/postrider/postrider/mail"
	"github.com/postrider/postrider/schema"
)

func TestMain(m *testing.M) { natstest.VerifyTestMain(m) }

// TestExamples runs each example against a broker, as a newcomer would, and
// checks what it published. An example whose runtime is not installed is skipped,
// unless EXAMPLES names it (as in EXAMPLES=python3,node): then the test fails.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, command := range map[string][]string{
		"Go":        {"go", "run", "publish.go"},
		"submit":    {"go", "run", "./submit"},
		"the shell": {"nats", "sh", "publish.sh"},
		"Python":    {"python3", "python3", "publish.py"},
		"Node":      {"node", "node", "publish.mjs"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(command[0]); err != nil {
				if strings.Contains(","+os.Getenv("EXAMPLES")+",", ","+command[0]+",") {
					t.Fatalf("%s is not installed", command[0])
				}
				t.Skipf("%s is not installed: the example in %s does not run", command[0], name)
			}
			b := natstest.Start(t)
			args := command[1:]
			if command[0] == "go" {
				args = command
			}
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "NATS_URL="+b.Config.URL)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.Contains(string(out), "MAIL_SEND_NORMAL") {
				t.Errorf("it does not print the broker's answer: %s", out)
			}
			s, err := b.Conn.JS().Stream(t.Context(), b.Lanes[0].SendStream())
			if err != nil {
				t.Fatal(err)
			}
			m, err := s.GetMsg(t.Context(), 1)
			if err != nil {
				t.Fatalf("nothing was published: %v\n%s", err, out)
			}
			check(t, m.Header, m.Data, "Grüße from "+name)
		})
	}
}

// check reads the mail as a worker does, and compares it with what was meant.
func check(t *testing.T, header map[string][]string, body []byte, subject string) {
	t.Helper()
	e, err := schema.Decode(header, body)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := compose.Compose(e, "1-1", e.SendAt); err != nil {
		t.Error(err)
	}
	if e.Subject != subject || e.From != (mail.Address{Name: "Shop", Email: "shop@example.com"}) || len(e.To) != 1 ||
		e.To[0] != (mail.Address{Name: "Ann", Email: "ann@example.net"}) || *e.Text != "Your order has been sent." {
		t.Errorf("%+v", e)
	}
	if id := header[schema.HeaderMsgID]; len(id) != 1 || !strings.HasPrefix(id[0], "order-17-") {
		t.Errorf("Nats-Msg-Id %q", id)
	}
}
