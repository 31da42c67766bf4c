package worker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/app"
	"github.com/postrider/postrider/internal/check"
	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/devrelay"
	"github.com/postrider/postrider/internal/env"
)

// Devrelay is the command that runs the development relay without a worker: for
// workers with NATS_URL, as in a cluster that must not send anything yet.
func Devrelay(environ []string, stdout, stderr io.Writer) *cobra.Command {
	cfg := devrelay.DefaultConfig()
	cfg.Listen, cfg.Dir = "127.0.0.1:2525", "sent"
	cmd := &cobra.Command{
		Use:   "devrelay",
		Short: "Run the development relay alone: it keeps each mail as a file and sends nothing",
		Long: `Run the development relay alone, until told to stop. It keeps each mail as a
file TIME-ID.eml, and sends nothing anywhere. Its answer depends on the recipient:

  550@…   any three digits 5xx: refused for good
  451@…   any three digits 4xx: refused twice for each message, then accepted
  slow@…  accepted, and the reply takes ten seconds

It has neither TLS nor AUTH, and takes mail from whoever reaches it. Of the
worker's settings it reads POSTRIDER_LOG_FORMAT and POSTRIDER_LOG_LEVEL; debug
names each message.`,
		Example: "  {path}\n  {path} --listen :2525 --dir /data/sent",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := check.Address(cfg.Listen); err != nil {
				return cli.Wrongf("--listen: %w", err)
			}
			return runDevrelay(cmd.Context(), environ, cfg, stdout, stderr)
		},
	}
	cmd.Flags().StringVar(&cfg.Listen, "listen", cfg.Listen, "`ADDRESS` to listen on, host:port")
	cmd.Flags().StringVar(&cfg.Dir, "dir", cfg.Dir, "`DIRECTORY` to keep the mail in; two relays must not share it")
	return cmd
}

// closeFor bounds the stop of the development relay.
const closeFor = 10 * time.Second

func runDevrelay(ctx context.Context, environ []string, cfg devrelay.Config, stdout, stderr io.Writer) (err error) {
	set := app.DefaultProcess()
	if errs := append(env.Read(env.Of(environ), &set), env.Unknown(environ)...); len(errs) > 0 {
		return cli.Fail(cli.Config, errors.Join(errs...))
	}
	text := set.LogFormat != "json"
	log := set.Logger(text, stdout, stderr)
	r, err := devrelay.Start(ctx, cfg, log)
	if err != nil {
		return cli.Fail(cli.Config, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeFor)
		defer cancel()
		err = errors.Join(err, r.Close(ctx))
	}()
	if text {
		fmt.Fprintf(stdout, "The development relay listens on %s, keeps each mail in %s and sends it nowhere.\nA worker on this machine uses it with SMTP_URL=%s\n", r.Addr(), cfg.Dir, r.URL())
	} else {
		log.Info("development relay started", "listen", r.Addr(), "dir", cfg.Dir)
	}
	<-ctx.Done()
	return nil
}
