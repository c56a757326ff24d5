package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/databases/sample"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/foundation"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// The names of the story.
const (
	organization   = "acme"
	space          = "shop"
	user           = "developer"
	sourceInstance = "shop-db"
	targetInstance = "shop-db-new"
	appKey         = "app"
	migrationKey   = "migration"
	databaseName   = "shop"
	stateName      = "migration_state"

	writerCount = 4

	startTimeout = 30 * time.Second
	stopTimeout  = 15 * time.Second
)

// stage is everything that the story needs: servers, foundation, service and cf CLI.
type stage struct {
	options options
	// dir holds all that the demo makes; the servers' user may enter it.
	dir string

	source, target *postgres.Cluster
	foundationURL  string
	serviceURL     string
	password       string // the user's
	cfProgram      string
	// running are the programs to end, in the order they were started.
	running []*exec.Cmd
}

// newStage makes the demo's folder.
func newStage(o options) (*stage, error) {
	dir, err := os.MkdirTemp("", "cf-pg-migrate-demo-")
	if err != nil {
		return nil, fmt.Errorf("make the demo's folder: %w", err)
	}
	s := &stage{options: o, dir: dir, password: rand.Text()}
	if err := errors.Join(
		os.Chmod(dir, 0o755),
		os.Mkdir(s.path("bin"), 0o755),
		os.Mkdir(s.path("home"), 0o700),
		os.Mkdir(s.path("app"), 0o700),
	); err != nil {
		return nil, errors.Join(fmt.Errorf("make the demo's folder: %w", err), s.strike())
	}
	return s, nil
}

func (s *stage) path(elements ...string) string {
	return filepath.Join(append([]string{s.dir}, elements...)...)
}

// pluginName is the plugin's file name, which tells the system it is for.
func pluginName() string {
	return "cf_cli_pg_migrate_plugin-" + runtime.GOOS + "-" + runtime.GOARCH
}

// setUp builds and starts everything.
func (s *stage) setUp(ctx context.Context) error {
	say("Getting the cf CLI, building plugin, service and foundation")
	if err := s.build(ctx); err != nil {
		return err
	}
	say("Starting PostgreSQL %d with the source, PostgreSQL %d with the target", s.options.source, s.options.target)
	if err := s.startClusters(ctx); err != nil {
		return err
	}
	say("Starting the miniature Cloud Foundry and the migration service")
	if err := s.startFoundation(ctx); err != nil {
		return err
	}
	return s.startService(ctx)
}

func (s *stage) build(ctx context.Context) error {
	install := exec.CommandContext(ctx, "fixtures/cf/install.sh")
	install.Stderr = os.Stderr
	output, err := install.Output()
	if err != nil {
		return fmt.Errorf("get the cf CLI: %w", err)
	}
	s.cfProgram = strings.TrimSpace(string(output))
	for _, program := range []struct{ name, source string }{
		{pluginName(), "."},
		{"pg-migrate-service", "./service"},
		{"foundation", "./fixtures/foundation/cmd/foundation"},
	} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.path("bin", program.name), program.source)
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if output, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program.source, err, output)
		}
	}
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

// startFoundation starts the miniature Cloud Foundry with both service instances.
func (s *stage) startFoundation(ctx context.Context) error {
	instance := func(name, plan string, cluster *postgres.Cluster, keys ...foundation.KeyConfig) foundation.InstanceConfig {
		return foundation.InstanceConfig{
			Name: name, Organization: organization, Space: space, Offering: "postgresql-db", Plan: plan, Keys: keys,
			Database: &foundation.DatabaseConfig{
				Host: cluster.Host, Port: cluster.Port, Superuser: cluster.Superuser, Password: cluster.Password, Name: databaseName,
			},
		}
	}
	plans := []foundation.PlanConfig{
		{Name: fmt.Sprintf("postgresql-%d", s.options.source)},
		{Name: fmt.Sprintf("postgresql-%d", s.options.target)},
	}
	config, err := json.Marshal(foundation.Config{
		Organizations: []foundation.OrganizationConfig{{Name: organization, Spaces: []foundation.SpaceConfig{{Name: space}}}},
		Users: []foundation.UserConfig{{
			Name: user, Password: s.password,
			Roles: []foundation.RoleConfig{{Type: "space_developer", Organization: organization, Space: space}},
		}},
		Offerings: []foundation.OfferingConfig{{Name: "postgresql-db", Broker: "postgres-broker", Plans: slices.Compact(plans)}},
		Instances: []foundation.InstanceConfig{
			instance(sourceInstance, plans[0].Name, s.source, foundation.KeyConfig{Name: appKey}),
			instance(targetInstance, plans[1].Name, s.target),
		},
	})
	if err != nil {
		return fmt.Errorf("describe the foundation: %w", err)
	}
	if err := os.WriteFile(s.path("foundation.json"), config, 0o600); err != nil {
		return fmt.Errorf("describe the foundation: %w", err)
	}
	if err := s.launch("foundation", nil, "-config", s.path("foundation.json")); err != nil {
		return err
	}
	// It prints its address when it is ready.
	return s.await(ctx, "foundation", func() bool {
		output, err := os.ReadFile(s.path("foundation.out"))
		s.foundationURL = strings.TrimSpace(string(output))
		return err == nil && strings.HasSuffix(string(output), "\n")
	})
}

func (s *stage) startService(ctx context.Context) error {
	state, err := s.target.CreateOwnerDatabase(ctx, stateName, false)
	if err != nil {
		return err
	}
	pgDump, err := postgres.PgDump(ctx)
	if err != nil {
		return err
	}
	pgRestore, err := postgres.PgRestore(ctx)
	if err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // cannot fail
	port, err := postgres.FreePort(ctx)
	if err != nil {
		return err
	}
	s.serviceURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := s.launch("pg-migrate-service", []string{
		"DATABASE_URL=" + state.URL(),
		"DATABASE_TLS=prefer",
		"CF_API=" + s.foundationURL,
		"PG_MIGRATE_KEYS=" + base64.StdEncoding.EncodeToString(key),
		fmt.Sprintf("PG_MIGRATE_LISTEN=127.0.0.1:%d", port),
		"PG_DUMP=" + pgDump,
		"PG_RESTORE=" + pgRestore,
	}); err != nil {
		return err
	}
	return s.await(ctx, "pg-migrate-service", func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.serviceURL+"/readyz", nil)
		if err != nil {
			return false
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
}

// launch starts one of the built programs; its output goes to NAME.out and NAME.log.
func (s *stage) launch(name string, environment []string, arguments ...string) error {
	program := exec.Command(s.path("bin", name), arguments...)
	program.Dir = s.dir
	program.Env = append(os.Environ(), environment...)
	// Ctrl-C is for us, who end everything in order.
	program.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !s.options.keep {
		program.SysProcAttr.Pdeathsig = syscall.SIGTERM // even if we are killed
	}
	for suffix, stream := range map[string]*io.Writer{".out": &program.Stdout, ".log": &program.Stderr} {
		file, err := os.OpenFile(s.path(name+suffix), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("start %s: %w", name, err)
		}
		defer file.Close()
		*stream = file
	}
	if err := program.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.running = append(s.running, program)
	return nil
}

// await waits until a program that was launched is ready.
func (s *stage) await(ctx context.Context, name string, ready func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			log, _ := os.ReadFile(s.path(name + ".log"))
			return fmt.Errorf("%s does not get ready: %w\n%s", name, ctx.Err(), log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// login is what a service key holds.
type login struct {
	URI string `json:"uri"`
}

func (l login) url() string { return l.URI }

// appLogin asks cf for the credentials that the application has, in a session of its own.
func (s *stage) appLogin(ctx context.Context) (login, error) {
	for _, arguments := range [][]string{
		{"api", s.foundationURL},
		{"auth"},
		{"target", "-o", organization, "-s", space},
	} {
		if output, err := s.command(ctx, "app", arguments...).CombinedOutput(); err != nil {
			return login{}, fmt.Errorf("cf %s: %w\n%s", strings.Join(arguments, " "), err, output)
		}
	}
	output, err := s.command(ctx, "app", "service-key", sourceInstance, appKey).Output()
	if err != nil {
		return login{}, fmt.Errorf("read the application's service key: %w", err)
	}
	// The key is what stands after cf's own words.
	var key struct {
		Credentials login `json:"credentials"`
	}
	_, document, _ := bytes.Cut(output, []byte("{"))
	if err := json.Unmarshal(append([]byte("{"), document...), &key); err != nil {
		return login{}, fmt.Errorf("read the application's service key: %w", err)
	}
	if _, err := url.Parse(key.Credentials.URI); err != nil || key.Credentials.URI == "" {
		return login{}, errors.New("read the application's service key: it holds no address")
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
	size, err := databaseSize(ctx, s.source.URL(databaseName))
	if err != nil {
		return err
	}
	fmt.Printf("%s in %.0f s\n", size, time.Since(start).Seconds())
	return nil
}

// showLog prints the end of the service's log, for a demo that failed.
func (s *stage) showLog() {
	log, err := os.ReadFile(s.path("pg-migrate-service.log"))
	if err != nil || len(log) == 0 {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	fmt.Fprintf(os.Stderr, "\nThe end of the service's log:\n%s\n", strings.Join(lines[max(0, len(lines)-20):], "\n"))
}

// strike ends everything and removes the demo's folder.
func (s *stage) strike() error {
	var failures []error
	for _, program := range slices.Backward(s.running) {
		failures = append(failures, end(program))
	}
	for _, cluster := range []*postgres.Cluster{s.source, s.target} {
		if cluster != nil {
			failures = append(failures, cluster.Stop())
		}
	}
	return errors.Join(append(failures, os.RemoveAll(s.dir))...)
}

// end asks a program to end and, if it does not, kills it.
func end(program *exec.Cmd) error {
	if err := program.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", program.Path, err)
	}
	late := time.AfterFunc(stopTimeout, func() { _ = program.Process.Kill() })
	defer late.Stop()
	_ = program.Wait() // how it ends is of no interest
	return nil
}
