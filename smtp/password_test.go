package smtp

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/postrider/postrider/internal/smtptest"
)

// TestChangedPassword: the relay's password changed, and later the file that a worker has
// it from. The next probe reads it, and the new one is withheld as the first was.
func TestChangedPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret), smtptest.On("DOT", smtptest.Answer{Reply: "250 2.0.0 Ok: queued as " + secret})), func(c *Config) {
		credentials(c)
		c.Password, c.PasswordFile = "the-first-one", file
		c.PauseMin, c.PauseMax = 10*time.Millisecond, 10*time.Millisecond
	})
	b.wantClasses(t, message(), "requeued") // there is no file yet
	wantLog(t, b.log, "refused the password of user.*: mail waits until somebody fixes it; correct the file of SMTP_PASSWORD_FILE, or SMTP_USERNAME: a changed file is tried within 10ms; the same one is tried again in 15m, or after SIGHUP")
	if s, _ := b.State(); time.Until(s.Next) < 14*time.Minute {
		t.Errorf("the next try of the same password is in %s", time.Until(s.Next))
	}
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	tx := b.wantClasses(t, message(), "delivered")
	if got := fmt.Sprintf("%+v", tx) + b.log.String(); strings.Contains(got, secret) {
		t.Errorf("the new password got out:\n%s", got)
	}
}

// TestPasswordFileIsPipe: a pipe in the place of the file would have all sessions wait for
// its writer. What was read before is used, and that is said once.
func TestPasswordFileIsPipe(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	if err := syscall.Mkfifo(file, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBundle(t, smtptest.New(t, smtptest.Auth("user", secret)), func(c *Config) {
		credentials(c)
		c.PasswordFile, c.MessagesPerSession = file, 1
	})
	b.wantClasses(t, message(), "delivered")
	b.wantClasses(t, message(), "delivered")
	if n := strings.Count(b.log.String(), "SMTP_PASSWORD_FILE: "+file+": is not a regular file"); n != 1 {
		t.Errorf("said %d times:\n%s", n, b.log)
	}
}

// TestPasswordWasRight: the relay refuses a password for a while, to two sessions at the same
// moment. That is one refusal. The relay is asked again after the pause for one, or as soon
// as somebody says so.
func TestPasswordWasRight(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]func(*Relay){
		"after the pause": func(*Relay) { time.Sleep(deniedMin + time.Minute) },
		"asked to":        func(r *Relay) { r.Retry(); time.Sleep(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				broken := time.Now().Add(time.Minute)
				b := newPiped(t, func(c *Config) { credentials(c); shortPauses(c); c.MaxSessions, c.MessagesPerSession = 2, 1 }, smtptest.Auth("user", secret),
					smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
						if st.Verb == "AUTH" && st.Session > 1 && time.Now().Before(broken) {
							return &smtptest.Answer{Delay: time.Second, Reply: "535 5.7.8 later"}
						}
						return nil
					}))
				b.wantClasses(t, message(), "delivered")
				var two sync.WaitGroup
				for range 2 {
					two.Go(func() { b.Deliver(t.Context(), message()) })
				}
				two.Wait()
				if s, _ := b.State(); b.Up() || time.Until(s.Next) > deniedMin || time.Until(s.Next) < deniedMin-2*time.Second {
					t.Errorf("up %v, tried again in %s\n%s", b.Up(), time.Until(s.Next), b.log)
				}
				time.Sleep(2 * time.Minute)
				if b.Up() {
					t.Fatal("the password was said again already")
				}
				if asks(b.Relay); !b.Up() {
					t.Errorf("it is not tried again\n%s", b.log)
				}
			})
		})
	}
}
