// Command demo shows a whole migration: it sets up a miniature Cloud Foundry with two PostgreSQL
// servers of different versions, fills the older one, keeps changing it, and moves it to the newer
// one the way a user does, with the real cf CLI, the plugin and the service. At the end it
// compares both databases itself.
//
// Everything is below one temporary folder and on free ports of the loopback interface.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/sample"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/world"
)

// options are what the user of the demo can choose.
type options struct {
	source, target int
	keep           bool
	sample         string
	scale          float64
}

func main() {
	var o options
	flag.IntVar(&o.source, "source", 15, "PostgreSQL `VERSION` of the source")
	flag.IntVar(&o.target, "target", 18, "PostgreSQL `VERSION` of the target")
	flag.BoolVar(&o.keep, "keep", false, "leave everything running")
	flag.StringVar(&o.sample, "sample", "", "move this database instead of the sample: `FILE` of plain SQL or made by pg_dump -Fc")
	flag.Float64Var(&o.scale, "scale", 1, "`SIZE` of the sample; 1 is some 300 MB")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if o.sample != "" {
		if _, err := os.Stat(o.sample); err != nil {
			return fmt.Errorf("reading the sample: %w", err)
		}
	}
	s, err := newStage(o)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil && ctx.Err() == nil {
			s.showLog()
		}
		if o.keep && ctx.Err() == nil && s.World != nil {
			err = errors.Join(err, s.leave())
		} else {
			err = errors.Join(err, s.strike())
		}
	}()
	if err := s.setUp(ctx); err != nil {
		return err
	}
	return play(ctx, s)
}

// play is the user's way from the old database to the new one.
func play(ctx context.Context, s *stage) error {
	app, err := s.appLogin(ctx)
	if err != nil {
		return err
	}
	if err := s.fill(ctx, app); err != nil {
		return err
	}
	writers := &sample.Writers{Pause: 20 * time.Millisecond}
	if s.options.sample == "" {
		say("Starting %d writers, which change the source from now on, with the application's login", writerCount)
		if err := writers.Start(ctx, app.url(), writerCount); err != nil {
			return err
		}
		defer func() { _, _ = writers.Stop() }() // if something fails in between
	}

	say("The user's way:")
	if err := s.cf(ctx, "api", s.FoundationURL); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"auth"},
		{"target", "-o", world.Organization, "-s", space},
		{"install-plugin", "-f", s.Programs.Plugin},
		{"update-service", sourceInstance, "-c", `{"prepare_migration": "true"}`, "--wait"},
		{"create-service-key", sourceInstance, migrationKey, "--wait"},
		{"create-service-key", targetInstance, migrationKey, "--wait"},
		{"pg-migrate", "api", s.Service.URL},
		{"pg-migrate", "target", sourceInstance, migrationKey, targetInstance, migrationKey},
		{"pg-migrate", "preflight-check"},
		{"pg-migrate", "create-replication", "--wait"},
	} {
		if err := s.cf(ctx, command...); err != nil {
			return err
		}
	}
	progress, err := s.progress(ctx)
	if err != nil {
		return err
	}

	lastWrite := time.Now()
	if s.options.sample == "" {
		say("Stopping the writers, as a release does with the application")
		written, err := writers.Stop()
		if err != nil {
			return err
		}
		lastWrite = written.Last
		fmt.Printf("They made %d transactions.\n", written.Transactions)
	}
	if err := s.cf(ctx, "pg-migrate", "create-finalization", "--wait", "--poll-interval", "1s", "-f"); err != nil {
		return err
	}
	completed := time.Now()
	if err := s.cf(ctx, "pg-migrate", "finalization"); err != nil {
		return err
	}

	say("Comparing both databases, with the superuser's eyes")
	equal, err := compare(ctx, os.Stdout, s.Source.URL(), s.Target.URL())
	if err != nil {
		return err
	}
	fmt.Println()
	progress.print(os.Stdout)
	fmt.Printf("%.1f s from the last write on the source to COMPLETED\n", completed.Sub(lastWrite).Seconds())
	if !equal {
		return errors.New("the databases differ")
	}
	fmt.Println("Every table is equal.")
	return nil
}
