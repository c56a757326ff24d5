// Package acceptance_test holds the product against its users: the real cf CLI with the built plugin, the built service, real
// PostgreSQL servers, and a miniature Cloud Foundry in between. The scripts in testdata read like a user's terminal.
package acceptance_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/foundation"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/world"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

const (
	sourceMajor = 15
	targetMajor = 18
)

func TestScripts(t *testing.T) {
	programs, err := world.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	release, err := filepath.Abs("../docs/examples/release.sh")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			p, err := newPlace(t, programs)
			if err != nil {
				return err
			}
			env.Defer(func() { p.close(t) })
			env.Values[placeKey{}] = p
			env.Setenv("PATH", filepath.Dir(programs.CF)+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("CF_HOME", env.WorkDir)
			env.Setenv("API", p.Service.URL)
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

type placeKey struct{}

// place is where one script takes place: a world of its own, with a shop in it.
type place struct {
	*world.World
	shop    shop
	secrets []string // besides the world's
}

const (
	space          = "prod"
	sourceInstance = "db-old"
	targetInstance = "db-new"
)

func newPlace(t *testing.T, programs world.Programs) (*place, error) {
	p := &place{}
	database := "acceptance_" + strings.ToLower(rand.Text()[:12])
	var err error
	p.World, err = world.Start(context.Background(), world.Options{
		Programs: programs, Dir: t.TempDir(), Space: space,
		Source:      world.Side{Instance: sourceInstance, Cluster: postgres.ForTest(t, sourceMajor), Database: database},
		Target:      world.Side{Instance: targetInstance, Cluster: postgres.ForTest(t, targetMajor), Database: database},
		Environment: []string{"LOG_LEVEL=debug"},
		More: func(c *foundation.Config) {
			c.Organizations[0].Spaces = append(c.Organizations[0].Spaces, foundation.SpaceConfig{Name: "test"})
			developer := &c.Users[0]
			developer.Roles = append(developer.Roles, foundation.RoleConfig{Type: "space_developer", Organization: world.Organization, Space: "test"})
			c.Users = append(c.Users, foundation.UserConfig{
				Name: "auditor", Password: developer.Password,
				Roles: []foundation.RoleConfig{{Type: "space_auditor", Organization: world.Organization, Space: space}},
			})
			c.Apps = []foundation.AppConfig{{Name: "shop", Organization: world.Organization, Space: space, Program: &p.shop}}
		},
	})
	return p, err
}

func (p *place) close(t *testing.T) {
	if err := p.Stop(); err != nil {
		t.Errorf("stopping the world: %v", err)
	}
	p.checkLog(t)
	if t.Failed() {
		t.Logf("the service's log:\n%s", p.Service.Log())
	}
	if unknown := p.Foundation.UnknownRequests(); len(unknown) > 0 {
		t.Errorf("the foundation was asked what it does not know: %v", unknown)
	}
	if err := p.DropDatabases(context.Background()); err != nil {
		t.Error(err)
	}
}

var token = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}`)

// checkLog holds the service's log at debug level against every secret that the script saw.
func (p *place) checkLog(t *testing.T) {
	text := p.Service.Log()
	secrets := append(p.Secrets(), p.secrets...)
	if !strings.Contains(text, `"level":"DEBUG"`) && !strings.Contains(text, `"level":"INFO"`) {
		t.Errorf("the service's log is not what was expected:\n%s", text)
	}
	for _, instance := range []string{sourceInstance, targetInstance} {
		i := p.Foundation.Instance(world.Organization, space, instance)
		for _, key := range []string{"k1", "k2", "k"} {
			if credentials := i.Credentials(key); credentials != nil {
				if password, ok := credentials["password"].(string); ok {
					secrets = append(secrets, password)
				}
			}
		}
	}
	for _, secret := range secrets {
		if strings.Contains(text, secret) || strings.Contains(text, url.QueryEscape(secret)) {
			t.Errorf("the service's log holds a secret: %.4s…", secret)
		}
	}
	if found := token.FindString(text); found != "" {
		t.Errorf("the service's log holds a token: %.20s…", found)
	}
}

func of(ts *testscript.TestScript) *place { return ts.Value(placeKey{}).(*place) }

// login does what every script begins with; "login USER" takes another user.
func login(ts *testscript.TestScript, _ bool, args []string) {
	p := of(ts)
	session := p.Session(ts.Getenv("CF_HOME"))
	if len(args) > 0 {
		session.User = args[0]
	}
	ctx := context.Background()
	ts.Check(session.Login(ctx))
	for _, command := range [][]string{
		{"install-plugin", "-f", p.Programs.Plugin},
		{"pg-migrate", "api", p.Service.URL},
	} {
		_, err := session.Run(ctx, command...)
		ts.Check(err)
	}
}

// url is how a script's source, target or state database is reached.
func (p *place) url(ts *testscript.TestScript, name string) string {
	switch name {
	case "source":
		return p.Source.URL()
	case "target":
		return p.Target.URL()
	case "state":
		return p.State.URL()
	}
	ts.Fatalf("there is no database %q", name)
	return ""
}

// sql runs statements as the owner of the database: sql source|target 'STATEMENTS'. What the last one gives goes to stdout.
func sql(ts *testscript.TestScript, negated bool, args []string) {
	p := of(ts)
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, p.url(ts, args[0]))
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	if args[0] != "state" {
		_, err = conn.Exec(ctx, "SET ROLE "+pgx.Identifier{p.Source.Database + "_owner"}.Sanitize())
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
	p := of(ts)
	ctx := context.Background()
	var texts []string
	for _, url := range []string{p.Source.URL(), p.Target.URL()} {
		conn, err := pgx.Connect(ctx, url)
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
	f := of(ts).Foundation
	switch args[0] {
	case "key":
		i := f.Instance(world.Organization, space, args[1])
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
		if running := f.App(world.Organization, space, "shop").Running(); running != (args[1] == "running") {
			ts.Fatalf("the shop runs: %v", running)
		}
	case "orders":
		found, err := of(ts).shop.find(context.Background(), of(ts).url(ts, args[1]))
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
		out, err := of(ts).Session(ts.Getenv("CF_HOME")).Run(context.Background(), "oauth-token")
		ts.Check(err)
		bearer = strings.TrimPrefix(strings.TrimSpace(out), "bearer ")
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
	service := of(ts).Service
	switch args[0] {
	case "kill":
		ts.Check(service.Kill())
	case "stop":
		ts.Check(service.Stop())
	case "start":
		ts.Check(service.Start(context.Background()))
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
