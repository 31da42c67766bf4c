// Command relay is the relay of package smtptest as a process, for tests that kill
// processes. What it has accepted is in its book, which is synced to the disk before
// the reply is sent.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/postrider/postrider/internal/smtptest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	fs := flag.NewFlagSet("relay", flag.ContinueOnError)
	fs.SetOutput(stderr)
	listen := fs.String("listen", "127.0.0.1:0", "`address` to listen on")
	book := fs.String("book", "", "`file` that gets a JSON line for each accepted transaction, synced before the reply")
	open := fs.String("open", "", "`file` that gets a synced JSON line at each final dot and at each reply to one")
	maildir := fs.String("maildir", "", "`directory` that gets the bodies, named by their SHA-256")
	delay := fs.Duration("delay", 0, "`pause` before the reply to the final dot, after the book")
	accept := fs.Bool("accept", false, "accept every recipient, whatever its address asks for")
	silent := fs.Int("silent", 0, "fall silent at MAIL in every such session: with `number` 3, in every third; 0: in none")
	if err := fs.Parse(args); err != nil {
		return 64 // EX_USAGE
	}
	k, err := newKeeper(*book, *open, *maildir, *delay)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 73 // EX_CANTCREAT
	}
	defer k.close()
	ctx, fail := context.WithCancelCause(ctx)
	k.fail = fail
	opts := []smtptest.Option{smtptest.Listen(*listen), smtptest.Forget(), smtptest.Received(k.received), smtptest.Replied(k.replied)}
	if !*accept {
		opts = append(opts, smtptest.ByAddress())
	}
	if *silent > 0 {
		opts = append(opts, smtptest.Scripted(func(st smtptest.Step) *smtptest.Answer {
			if st.Verb == "MAIL" && st.Session%*silent == 0 {
				return &smtptest.Answer{Until: make(chan struct{})}
			}
			return nil
		}))
	}
	s, err := smtptest.Start(opts...)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 69 // EX_UNAVAILABLE
	}
	defer s.Close()
	fmt.Fprintf(stdout, "listening on %s\n", s.Addr())
	<-ctx.Done()
	if err := context.Cause(ctx); k.failed(err) {
		fmt.Fprintln(stderr, err)
		return 74 // EX_IOERR
	}
	return 0
}
