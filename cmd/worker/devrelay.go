package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"github.com/postrider/postrider/internal/cli"
	"github.com/postrider/postrider/internal/devrelay"
	"github.com/postrider/postrider/internal/env"
)

// devrelayCommand is the development relay without a worker: for workers with a
// broker of their own, as in a cluster that is to send nothing yet.
func devrelayCommand(lookup env.Lookup, stdout, stderr io.Writer) *cobra.Command {
	cfg := devrelay.DefaultConfig()
	cfg.Listen, cfg.Dir = "127.0.0.1:2525", "sent"
	cmd := &cobra.Command{
		Use:   "devrelay",
		Short: "Run the development relay alone: it keeps each mail as a file and sends nothing",
		Long: `Run the development relay alone, until told to stop. It keeps each mail as a
file TIME-ID.eml, sends nothing anywhere, and answers by recipient:

  550@…   any three digits 5xx: refused for good
  451@…   any three digits 4xx: refused twice for each sender, then accepted
  slow@…  accepted, and the reply takes ten seconds

It knows neither TLS nor logins, and takes mail from whoever reaches it. Of the
worker's settings it reads POSTRIDER_LOG_FORMAT and POSTRIDER_LOG_LEVEL; debug names each mail.`,
		Example: "  worker devrelay\n  worker devrelay --listen :2525 --dir /data/sent",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, _, err := net.SplitHostPort(cfg.Listen); err != nil {
				return cli.Wrongf("--listen: %q is not host:port", cfg.Listen)
			}
			return runDevrelay(cmd.Context(), lookup, cfg, stdout, stderr)
		},
	}
	cmd.Flags().StringVar(&cfg.Listen, "listen", cfg.Listen, "`ADDRESS` to listen on, host:port")
	cmd.Flags().StringVar(&cfg.Dir, "dir", cfg.Dir, "`DIRECTORY` to keep the mail in; two relays must not share it")
	return cmd
}

func runDevrelay(ctx context.Context, lookup env.Lookup, cfg devrelay.Config, stdout, stderr io.Writer) (err error) {
	s := &settings{worker: defaultWorkerConfig()}
	if errs := env.Read(ctx, lookup, &s.worker); len(errs) > 0 {
		return cli.Fail(cli.Config, errors.Join(errs...))
	}
	text := s.worker.LogFormat != "json"
	log := newLogger(s, text, stdout, stderr)
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
