package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/rest"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// Times of the HTTP servers and of the way out. Cloud Foundry kills an app 10 s after SIGTERM.
const (
	headerTime  = 10 * time.Second
	readTime    = 30 * time.Second
	idleTime    = 2 * time.Minute
	stopTime    = 8 * time.Second
	headerBytes = 32 << 10
)

// run works until ctx ends, and then stops in less than 10 s.
func run(ctx context.Context, s *settings, log *slog.Logger) error {
	store, err := state.Open(ctx, s.databaseURL, s.sealer)
	if err != nil {
		return err
	}
	defer store.Close()
	motor := &engine.Engine{Settings: s.engine, Log: log}
	jobs, err := migration.NewJobs(store, engineOf{motor}, s.migrations, s.instance, log)
	if err != nil {
		return err
	}
	metrics := newMetrics(store)
	jobs.Taken = metrics.takeovers.Inc
	access := cloudfoundry.New(s.cfAPI, s.skipSSLValidation, s.tls)
	handler := rest.NewHandler(rest.Options{
		Migrations: migration.NewService(access, motor, store, jobs, log),
		Ready:      store.Ping,
		Log:        log,
		Observe:    metrics.observe,
		Requests:   s.requests,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return jobs.Run(ctx, stopTime) })
	group.Go(func() error { return serve(ctx, s.listen, handler, log.With("listener", "api")) })
	if s.metricsListen != "" {
		group.Go(func() error { return serve(ctx, s.metricsListen, metrics.handler(), log.With("listener", "metrics")) })
	}
	log.Info("the service starts", "version", version, "instance", s.instance, "cf_api", s.cfAPI, "database_tls", string(s.tls.Mode))
	return group.Wait()
}

// engineOf makes the engine's concrete type the interface that the workers know.
type engineOf struct{ *engine.Engine }

// NewReplication prepares a migration to be run.
func (e engineOf) NewReplication(m engine.Migration) migration.Runner {
	return e.Engine.NewReplication(m)
}

// serve serves until ctx ends, and then lets the requests under way come to their end.
func serve(ctx context.Context, address string, handler http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listening for requests: %w", err)
	}
	log.Info("listening", "address", listener.Addr().String())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if server.Shutdown(stopping) != nil {
			_ = server.Close()
		}
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving requests: %w", err)
	}
	<-stopped
	return nil
}
