package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/sample"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/foundation"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/world"
)

// The names of the story.
const (
	space          = "shop"
	sourceInstance = "shop-db"
	targetInstance = "shop-db-new"
	appKey         = "app"
	migrationKey   = "migration"
	databaseName   = "shop"

	writerCount = 4
)

// stage is where the story takes place: two servers, and a world around them.
type stage struct {
	*world.World
	options options
	// dir holds all that the demo makes; the servers' user may enter it.
	dir string

	source, target *postgres.Cluster
	user           *world.Session
}

// newStage makes the demo's folder.
func newStage(o options) (*stage, error) {
	dir, err := os.MkdirTemp("", "cf-pg-migrate-demo-")
	if err != nil {
		return nil, fmt.Errorf("making the demo's folder: %w", err)
	}
	s := &stage{options: o, dir: dir}
	if err := errors.Join(
		os.Chmod(dir, 0o755),
		os.Mkdir(s.path("bin"), 0o755),
		os.Mkdir(s.path("home"), 0o700),
		os.Mkdir(s.path("app"), 0o700),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("making the demo's folder: %w", err), s.strike())
	}
	return s, nil
}

func (s *stage) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// setUp builds and starts everything.
func (s *stage) setUp(ctx context.Context) error {
	say("Getting the cf CLI, building plugin and service")
	programs, err := world.Build(ctx, s.path("bin"))
	if err != nil {
		return err
	}
	say("Starting PostgreSQL %d with the source, PostgreSQL %d with the target", s.options.source, s.options.target)
	if err := s.startClusters(ctx); err != nil {
		return err
	}
	say("Starting the miniature Cloud Foundry and the migration service")
	s.World, err = world.Start(ctx, world.Options{
		Programs: programs, Dir: s.dir, Space: space, Outlive: s.options.keep,
		Source: world.Side{Instance: sourceInstance, Cluster: s.source, Database: databaseName, Keys: []foundation.KeyConfig{{Name: appKey}}},
		Target: world.Side{Instance: targetInstance, Cluster: s.target, Database: databaseName},
	})
	if err != nil {
		return err
	}
	s.user = s.Session(s.path("home"))
	return nil
}

func (s *stage) startClusters(ctx context.Context) (err error) {
	settings := map[string]string{"shared_buffers": "256MB", "max_wal_size": "2GB"}
	start := func(name string, major int) (*postgres.Cluster, error) {
		return postgres.Start(ctx, postgres.Options{
			Major: major, Durable: true, Dir: s.path(name), Settings: settings, Outlive: s.options.keep,
		})
	}
	if s.source, err = start("source", s.options.source); err != nil {
		return err
	}
	s.target, err = start("target", s.options.target)
	return err
}

// login is what a service key holds.
type login struct {
	URI string `json:"uri"`
}

func (l login) url() string { return l.URI }

// appLogin asks cf for the credentials that the application has, in a session of its own.
func (s *stage) appLogin(ctx context.Context) (login, error) {
	session := s.Session(s.path("app"))
	if err := session.Login(ctx); err != nil {
		return login{}, err
	}
	output, err := session.Run(ctx, "service-key", sourceInstance, appKey)
	if err != nil {
		return login{}, fmt.Errorf("reading the application's service key: %w", err)
	}
	// The key is what stands after cf's own words.
	var key struct {
		Credentials login `json:"credentials"`
	}
	_, document, _ := strings.Cut(output, "{")
	if err := json.Unmarshal([]byte("{"+document), &key); err != nil {
		return login{}, fmt.Errorf("reading the application's service key: %w", err)
	}
	if _, err := url.Parse(key.Credentials.URI); err != nil || key.Credentials.URI == "" {
		return login{}, errors.New("reading the application's service key: it holds no address")
	}
	return key.Credentials, nil
}

// fill loads what is to be moved into the source, as the application.
func (s *stage) fill(ctx context.Context, app login) error {
	start := time.Now()
	if s.options.sample == "" {
		say("Loading the sample database")
		if err := sample.Load(ctx, app.url(), s.options.scale); err != nil {
			return err
		}
	} else {
		say("Loading %s", s.options.sample)
		if err := restore(ctx, s.options.sample, app.url()); err != nil {
			return err
		}
	}
	size, err := databaseSize(ctx, s.Source.URL())
	if err != nil {
		return err
	}
	fmt.Printf("%s in %.0f s\n", size, time.Since(start).Seconds())
	return nil
}

// showLog prints the end of the service's log, for a demo that failed.
func (s *stage) showLog() {
	if s.World == nil {
		return // why the world did not start holds the log
	}
	lines := strings.Split(strings.TrimSpace(s.Service.Log()), "\n")
	fmt.Fprintf(os.Stderr, "\nThe end of the service's log:\n%s\n", strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// strike ends everything and removes the demo's folder.
func (s *stage) strike() error {
	var failures []error
	if s.World != nil {
		failures = append(failures, s.Stop())
	}
	for _, cluster := range []*postgres.Cluster{s.source, s.target} {
		if cluster != nil {
			failures = append(failures, cluster.Stop())
		}
	}
	return errors.Join(append(failures, os.RemoveAll(s.dir))...)
}
