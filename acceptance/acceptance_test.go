// Package acceptance_test holds the product against its users: the real cf CLI with the built plugin, the built service, real
// PostgreSQL servers, and a miniature Cloud Foundry in between. The scripts in testdata read like a user's terminal.
package acceptance_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/foundation"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

const (
	sourceMajor = 15
	targetMajor = 18
)

// programs are what the scripts run.
type programs struct {
	cf, plugin, service string
	pgDump, pgRestore   string
}

func build(t *testing.T) programs {
	t.Helper()
	folder := t.TempDir()
	p := programs{
		plugin:  filepath.Join(folder, "cf_cli_pg_migrate_plugin-"+runtime.GOOS+"-"+runtime.GOARCH),
		service: filepath.Join(folder, "pg-migrate-service"),
	}
	for program, source := range map[string]string{p.plugin: "..", p.service: "../service"} {
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, source).CombinedOutput(); err != nil {
			t.Fatalf("building %s: %v\n%s", source, err, out)
		}
	}
	out, err := exec.CommandContext(t.Context(), "../fixtures/cf/install.sh").Output()
	if err != nil {
		t.Fatalf("installing the cf CLI: %v", err)
	}
	p.cf = strings.TrimSpace(string(out))
	if p.pgDump, err = postgres.PgDump(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p.pgRestore, err = postgres.PgRestore(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestScripts(t *testing.T) {
	p := build(t)
	release, err := filepath.Abs("../docs/examples/release.sh")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			w, err := newWorld(t, p)
			if err != nil {
				return err
			}
			env.Defer(func() { w.close(t) })
			env.Values[worldKey{}] = w
			env.Setenv("PATH", filepath.Dir(p.cf)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("CF_HOME", env.WorkDir)
			env.Setenv("CF_API", w.foundationURL)
			env.Setenv("API", w.serviceURL)
			env.Setenv("PLUGIN", p.plugin)
			env.Setenv("PASSWORD", w.password)
			env.Setenv("RELEASE", release)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"login":      login,
			"sql":        sql,
			"same":       same,
			"foundation": actFoundation,
			"http":       send,
			"service":    actService,
			"eventually": eventually,
		},
	})
}

type worldKey struct{}

// world is one script's own foundation, databases and service.
type world struct {
	programs       programs
	foundation     *foundation.Foundation
	foundationURL  string
	stopFoundation func() error
	source, target postgres.Login // as the superuser sees them
	state          postgres.Login
	serviceURL     string
	service        *exec.Cmd
	environment    []string
	log            *logFile
	password       string
	secrets        []string
	shop           shop
}

const (
	organization, space, user = "acme", "prod", "developer"
	sourceInstance            = "db-old"
	targetInstance            = "db-new"
)

func newWorld(t *testing.T, p programs) (*world, error) {
	ctx := context.Background()
	w := &world{programs: p, password: "pass-" + rand.Text()}
	name := "acceptance_" + strings.ToLower(rand.Text()[:12])
	source, target := postgres.ForTest(t, sourceMajor), postgres.ForTest(t, targetMajor)
	superuser := func(c *postgres.Cluster) postgres.Login {
		return postgres.Login{Host: c.Host, Port: c.Port, User: c.Superuser, Password: c.Password, Database: name}
	}
	w.source, w.target = superuser(source), superuser(target)
	instance := func(instance string, c *postgres.Cluster) foundation.InstanceConfig {
		return foundation.InstanceConfig{
			Name: instance, Organization: organization, Space: space, Offering: "postgresql-db", Plan: "small",
			Database: &foundation.DatabaseConfig{Host: c.Host, Port: c.Port, Superuser: c.Superuser, Password: c.Password, Name: name},
		}
	}
	role := func(kind string) []foundation.RoleConfig {
		return []foundation.RoleConfig{{Type: kind, Organization: organization, Space: space}}
	}
	var err error
	w.foundation, err = foundation.New(ctx, foundation.Config{
		Organizations: []foundation.OrganizationConfig{{Name: organization, Spaces: []foundation.SpaceConfig{{Name: space}, {Name: "test"}}}},
		Users: []foundation.UserConfig{
			{Name: user, Password: w.password, Roles: append(role("space_developer"), foundation.RoleConfig{Type: "space_developer", Organization: organization, Space: "test"})},
			{Name: "auditor", Password: w.password, Roles: role("space_auditor")},
		},
		Offerings: []foundation.OfferingConfig{{Name: "postgresql-db", Broker: "postgres-broker", Plans: []foundation.PlanConfig{{Name: "small"}}}},
		Instances: []foundation.InstanceConfig{instance(sourceInstance, source), instance(targetInstance, target)},
		Apps:      []foundation.AppConfig{{Name: "shop", Organization: organization, Space: space, Program: &w.shop}},
	})
	if err != nil {
		return nil, err
	}
	if w.foundationURL, w.stopFoundation, err = w.foundation.Start(ctx, "127.0.0.1:0"); err != nil {
		return nil, err
	}
	if w.state, err = target.CreateOwnerDatabase(ctx, name+"_state", false); err != nil {
		return nil, err
	}
	port, err := postgres.FreePort(ctx)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	w.secrets = append(w.secrets, w.password, base64.StdEncoding.EncodeToString(key), w.state.Password)
	w.serviceURL = fmt.Sprintf("http://127.0.0.1:%d", port)
	w.environment = append(os.Environ(),
		"DATABASE_URL="+w.state.URL(), "DATABASE_TLS=prefer", "CF_API="+w.foundationURL,
		"PG_MIGRATE_KEYS="+base64.StdEncoding.EncodeToString(key), fmt.Sprintf("PG_MIGRATE_LISTEN=127.0.0.1:%d", port),
		"PG_DUMP="+p.pgDump, "PG_RESTORE="+p.pgRestore, "LOG_LEVEL=debug")
	w.log = &logFile{}
	return w, w.startService()
}

func (w *world) startService() error {
	w.service = exec.Command(w.programs.service)
	w.service.Env = w.environment
	w.service.Stdout, w.service.Stderr = w.log, w.log
	w.service.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := w.service.Start(); err != nil {
		return fmt.Errorf("starting the service: %w", err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		response, err := http.Get(w.serviceURL + "/readyz") //nolint:noctx // a test's own service
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the service does not get ready: %w\n%s", err, w.log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *world) stopService(how os.Signal) error {
	_ = w.service.Process.Signal(how)
	done := make(chan error, 1)
	go func() { done <- w.service.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(15 * time.Second):
		_ = w.service.Process.Kill()
		<-done
		return errors.New("the service did not stop in 15 s")
	}
}

func (w *world) close(t *testing.T) {
	if err := w.stopService(syscall.SIGTERM); err != nil {
		t.Errorf("stopping the service: %v", err)
	}
	w.checkLog(t)
	if t.Failed() {
		t.Logf("the service's log:\n%s", w.log)
	}
	if err := w.stopFoundation(); err != nil {
		t.Errorf("stopping the foundation: %v", err)
	}
	if unknown := w.foundation.UnknownRequests(); len(unknown) > 0 {
		t.Errorf("the foundation was asked what it does not know: %v", unknown)
	}
	ctx := context.Background()
	for major, names := range map[int][]string{sourceMajor: {w.source.Database}, targetMajor: {w.target.Database, w.state.Database}} {
		for _, name := range names {
			if err := postgres.ForTest(t, major).DropDatabase(ctx, name); err != nil {
				t.Errorf("dropping database %s: %v", name, err)
			}
		}
	}
}

var token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)

// checkLog holds the service's log at debug level against every secret that the script saw.
func (w *world) checkLog(t *testing.T) {
	text := w.log.String()
	if !strings.Contains(text, `"level":"DEBUG"`) && !strings.Contains(text, `"level":"INFO"`) {
		t.Errorf("the service's log is not what was expected:\n%s", text)
	}
	for _, instance := range []string{sourceInstance, targetInstance} {
		i := w.foundation.Instance(organization, space, instance)
		for _, key := range []string{"k1", "k2", "k"} {
			if credentials := i.Credentials(key); credentials != nil {
				if password, ok := credentials["password"].(string); ok {
					w.secrets = append(w.secrets, password)
				}
			}
		}
	}
	for _, secret := range w.secrets {
		if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
			t.Errorf("the service's log holds a secret: %.4s…", secret)
		}
	}
	if found := token.FindString(text); found != "" {
		t.Errorf("the service's log holds a token: %.20s…", found)
	}
}

// logFile keeps what a program writes, for two goroutines.
type logFile struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logFile) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func of(ts *testscript.TestScript) *world { return ts.Value(worldKey{}).(*world) }

// login does what every script begins with; "login USER" takes another user.
func login(ts *testscript.TestScript, _ bool, args []string) {
	name := user
	if len(args) > 0 {
		name = args[0]
	}
	for _, command := range [][]string{
		{"api", ts.Getenv("CF_API")},
		{"auth", name, of(ts).password},
		{"target", "-o", organization, "-s", space},
		{"install-plugin", "-f", ts.Getenv("PLUGIN")},
		{"pg-migrate", "api", ts.Getenv("API")},
	} {
		ts.Check(ts.Exec("cf", command...))
	}
}

func (w *world) side(ts *testscript.TestScript, name string) postgres.Login {
	switch name {
	case "source":
		return w.source
	case "target":
		return w.target
	case "state":
		return w.state
	}
	ts.Fatalf("there is no database %q", name)
	return postgres.Login{}
}

// sql runs statements as the owner of the database: sql source|target 'STATEMENTS'. What the last one gives goes to stdout.
func sql(ts *testscript.TestScript, negated bool, args []string) {
	w := of(ts)
	l := w.side(ts, args[0])
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, l.URL())
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	if args[0] != "state" {
		_, err = conn.Exec(ctx, "SET ROLE "+pgx.Identifier{l.Database + "_owner"}.Sanitize())
		ts.Check(err)
	}
	results, err := conn.PgConn().Exec(ctx, args[1]).ReadAll()
	if negated {
		if err == nil {
			ts.Fatalf("the statement succeeded")
		}
		_, _ = fmt.Fprintln(ts.Stdout(), err)
		return
	}
	ts.Check(err)
	if len(results) > 0 {
		for _, row := range results[len(results)-1].Rows {
			_, _ = fmt.Fprintln(ts.Stdout(), string(bytes.Join(row, []byte(" "))))
		}
	}
}

// same compares what a query gives on both sides: same 'QUERY'.
func same(ts *testscript.TestScript, negated bool, args []string) {
	w := of(ts)
	ctx := context.Background()
	var texts []string
	for _, l := range []postgres.Login{w.source, w.target} {
		conn, err := pgx.Connect(ctx, l.URL())
		ts.Check(err)
		results, err := conn.PgConn().Exec(ctx, args[0]).ReadAll()
		_ = conn.Close(ctx)
		ts.Check(err)
		var rows []string
		for _, row := range results[0].Rows {
			rows = append(rows, string(bytes.Join(row, []byte("|"))))
		}
		if len(rows) == 0 {
			ts.Fatalf("the query gives no row")
		}
		texts = append(texts, strings.Join(rows, "\n"))
	}
	if (texts[0] == texts[1]) == negated {
		ts.Fatalf("source:\n%s\ntarget:\n%s", texts[0], texts[1])
	}
}

// actFoundation does what happens behind the user's back.
//
//	foundation key INSTANCE KEY FIELD VALUE   another value in a key's credentials
//	foundation token-lifetime 20s
//	foundation revoke-tokens
//	foundation outage STATUS                  0 ends it
//	foundation shop running|stopped           fails unless the app is that
//	foundation orders source|target           fails unless every order that the app took is there
func actFoundation(ts *testscript.TestScript, _ bool, args []string) {
	f := of(ts).foundation
	switch args[0] {
	case "key":
		i := f.Instance(organization, space, args[1])
		credentials := i.Credentials(args[2])
		changed := map[string]any{}
		for name, value := range credentials {
			if name != "uri" {
				changed[name] = value
			}
		}
		changed[args[3]] = args[4]
		ts.Check(i.SetCredentials(args[2], changed))
		if args[3] == "password" {
			of(ts).secrets = append(of(ts).secrets, args[4])
		}
	case "token-lifetime":
		lifetime, err := time.ParseDuration(args[1])
		ts.Check(err)
		f.SetTokenLifetime(lifetime)
	case "revoke-tokens":
		f.RevokeTokens()
	case "outage":
		var status int
		_, err := fmt.Sscan(args[1], &status)
		ts.Check(err)
		f.SetOutage(status)
	case "shop":
		if running := f.App(organization, space, "shop").Running(); running != (args[1] == "running") {
			ts.Fatalf("the shop runs: %v", running)
		}
	case "orders":
		found, err := of(ts).shop.find(context.Background(), of(ts).side(ts, args[1]).URL())
		ts.Check(err)
		if taken := of(ts).shop.taken.Load(); found != taken {
			ts.Fatalf("the %s has %d orders of the %d that were taken", args[1], found, taken)
		}
	default:
		ts.Fatalf("the foundation cannot %s", args[0])
	}
}

// send talks to the service as another client would, with the user's token unless it is told another one: the answer's
// status and body go to stdout.
//
//	http METHOD PATH [BODY] [-token TOKEN] [-type TYPE]
func send(ts *testscript.TestScript, _ bool, args []string) {
	bearer, kind := "", "application/json"
	var rest []string
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-token":
			i++
			bearer = args[i]
		case "-type":
			i++
			kind = args[i]
		default:
			rest = append(rest, args[i])
		}
	}
	if bearer == "" {
		out, err := exec.Command("env", "CF_HOME="+ts.Getenv("CF_HOME"), of(ts).programs.cf, "oauth-token").Output()
		ts.Check(err)
		bearer = strings.TrimPrefix(strings.TrimSpace(string(out)), "bearer ")
	}
	body := ""
	if len(rest) > 2 {
		body = rest[2]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, rest[0], ts.Getenv("API")+rest[1], strings.NewReader(body))
	ts.Check(err)
	if bearer != "none" {
		request.Header.Set("Authorization", "Bearer "+bearer)
	}
	if body != "" {
		request.Header.Set("Content-Type", kind)
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	ts.Check(err)
	_, _ = fmt.Fprintf(ts.Stdout(), "%d %s\n%s\n", response.StatusCode, response.Header.Get("Content-Type"), text)
}

// actService stops and starts the service: service kill | stop | start.
func actService(ts *testscript.TestScript, _ bool, args []string) {
	w := of(ts)
	switch args[0] {
	case "kill":
		_ = w.stopService(syscall.SIGKILL)
	case "stop":
		ts.Check(w.stopService(syscall.SIGTERM))
	case "start":
		ts.Check(w.startService())
	default:
		ts.Fatalf("the service cannot %s", args[0])
	}
}

// eventually repeats a command for up to a minute until its standard output matches: eventually REGEXP COMMAND...
func eventually(ts *testscript.TestScript, _ bool, args []string) {
	wanted, err := regexp.Compile(args[0])
	ts.Check(err)
	deadline := time.Now().Add(time.Minute)
	for {
		cmd := exec.Command("env", append([]string{"CF_HOME=" + ts.Getenv("CF_HOME"), "PATH=" + ts.Getenv("PATH")}, args[1:]...)...)
		out, _ := cmd.CombinedOutput()
		if wanted.Match(out) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%v did not come to match %s:\n%s", args[1:], args[0], out)
		}
		time.Sleep(300 * time.Millisecond)
	}
}
