package plugin_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
	"github.com/cf-pg-migrate/cf-pg-migrate/commands/schematest"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/foundation"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/world"
)

var update = flag.Bool("update", false, "write the outputs in the scripts anew")

// build builds the plugin as it is released.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cf_cli_pg_migrate_plugin")
	command := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w -X main.version=v1.2.3", "-o", path, "..")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := command.CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, text)
	}
	return path
}

// installCF gives the path of the real cf CLI, to tests that may take their time.
func installCF(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("builds and runs the cf CLI")
	}
	path, err := world.CF(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// newFoundation starts a foundation with two instances and a key each. It makes no databases: the API is scripted.
func newFoundation(ctx context.Context) (*foundation.Foundation, string, func() error, error) {
	instance := func(name string, keys ...foundation.KeyConfig) foundation.InstanceConfig {
		return foundation.InstanceConfig{Name: name, Organization: "acme", Space: "prod", Offering: "postgresql-db", Plan: "small", Keys: keys}
	}
	key := func(name string) foundation.KeyConfig {
		return foundation.KeyConfig{Name: name, Credentials: map[string]any{"uri": "postgres://secret"}}
	}
	provided := instance("provided")
	provided.UserProvided, provided.Offering, provided.Plan = true, "", ""
	f, err := foundation.New(ctx, foundation.Config{
		Organizations: []foundation.OrganizationConfig{{Name: "acme", Spaces: []foundation.SpaceConfig{
			{Name: "prod", GUID: "11111111-1111-4111-8111-111111111111"}, {Name: "test"},
		}}},
		Users: []foundation.UserConfig{{Name: "jane", Password: "pass", Roles: []foundation.RoleConfig{
			{Type: "space_developer", Organization: "acme", Space: "prod"}, {Type: "space_developer", Organization: "acme", Space: "test"},
		}}},
		Offerings: []foundation.OfferingConfig{{Name: "postgresql-db", Broker: "b", Plans: []foundation.PlanConfig{{Name: "small"}}}},
		Instances: []foundation.InstanceConfig{
			instance("db-old", key("k1")), instance("db-new", key("k2")), instance("a, b", key("50% + x")), provided,
		},
	})
	if err != nil {
		return nil, "", nil, err
	}
	address, stop, err := f.Start(ctx, "127.0.0.1:0")
	return f, address, stop, err
}

// sameEachRun is the cf of the scripts: the real one, with the addresses and the home of this run replaced by those that
// a reader expects, so that outputs are compared whole. The documents of --json are kept for [validate].
const sameEachRun = `#!/bin/sh
folder=$(mktemp -d)
"$CF" "$@" >"$folder/out" 2>"$folder/err"
status=$?
migrations=${SCRIPTED:-$PG_MIGRATE_API}
sed -i "s,$migrations,https://pg-migrate.cf.example.com,g; s,${migrations#*//},pg-migrate.cf.example.com,g" "$folder/out" "$folder/err"
sed -i "s,$API,https://api.cf.example.com,g; s,${API#*//},api.cf.example.com,g; s,$CF_HOME,HOME,g" "$folder/out" "$folder/err"
cat "$folder/out"
cat "$folder/err" >&2
for argument; do
	if [ "$argument" = --json ]; then cp "$folder/out" "$(mktemp "$DOCUMENTS/XXXXXX")"; break; fi
done
rm -r "$folder"
exit $status
`

// validate checks documents that --json printed against the schema of docs/json.md.
func validate(t *testing.T, folder string) {
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Error(err)
	}
	for _, file := range files {
		document, err := os.ReadFile(file)
		if err == nil {
			err = schematest.Validate("../docs/json.md", document)
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, document)
		}
	}
}

type (
	apiKey        struct{}
	foundationKey struct{}
)

// TestScripts runs what a user types in testdata/script: the real cf CLI in a home of its own with the built plugin,
// against a foundation and a scripted migration API.
func TestScripts(t *testing.T) {
	cf, binary := installCF(t), build(t)
	// Written before anything runs at once: a process that another script starts meanwhile would hold it open ("text file busy").
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "cf"), []byte(sameEachRun), 0o700); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:           "testdata/script",
		UpdateScripts: *update,
		Setup: func(env *testscript.Env) error {
			f, address, stop, err := newFoundation(t.Context())
			if err != nil {
				return err
			}
			api := clienttest.Start()
			env.Defer(func() {
				api.Close()
				if err := stop(); err != nil {
					t.Errorf("stop: %v", err)
				}
				if unknown := f.UnknownRequests(); len(unknown) > 0 {
					t.Errorf("asked for what the foundation lacks: %v", unknown)
				}
			})
			env.Values[apiKey{}], env.Values[foundationKey{}] = api, f
			env.Setenv("CF_HOME", filepath.Join(env.WorkDir, "home"))
			env.Setenv("API", address)
			env.Setenv("CF", cf)
			env.Setenv("PLUGIN", binary)
			env.Setenv("PG_MIGRATE_API", api.URL)
			documents := filepath.Join(env.WorkDir, ".documents")
			env.Setenv("PATH", bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
			env.Setenv("DOCUMENTS", documents)
			env.Defer(func() { validate(t, documents) })
			for _, folder := range []string{documents, env.Getenv("CF_HOME")} {
				if err := os.Mkdir(folder, 0o700); err != nil {
					return err
				}
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"login":      login,
			"api":        answer,
			"asked":      asked,
			"foundation": act,
		},
	})
}

// login installs the plugin and logs in to acme/prod.
func login(ts *testscript.TestScript, _ bool, _ []string) {
	for _, args := range [][]string{
		{"install-plugin", "-f", ts.Getenv("PLUGIN")}, {"api", ts.Getenv("API")}, {"auth", "jane", "pass"}, {"target", "-o", "acme", "-s", "prod"},
	} {
		ts.Check(ts.Exec("cf", args...))
	}
}

// answer sets what the API answers to a request: api GET /v1/replication ANSWER...
func answer(ts *testscript.TestScript, _ bool, args []string) {
	var answers []clienttest.Answer
	for _, word := range args[2:] {
		answer, err := parseAnswer(word, func(file string) (string, error) { return ts.ReadFile(file), nil })
		ts.Check(err)
		answers = append(answers, answer)
	}
	ts.Value(apiKey{}).(*clienttest.API).On(args[0]+" "+args[1], answers...)
}

// parseAnswer reads an answer: a status word, accepted, html, empty, large, noroute, reset, truncated, redirect,
// NUMBER:CODE:TEXT or @FILE with JSON.
func parseAnswer(word string, read func(file string) (string, error)) (clienttest.Answer, error) {
	file, isFile := strings.CutPrefix(word, "@")
	parts := strings.SplitN(word, ":", 3)
	status, err := strconv.Atoi(parts[0])
	switch {
	case isFile:
		text, err := read(file)
		return clienttest.Answer{Status: http.StatusOK, Type: "application/json", Body: text}, err
	case err == nil && len(parts) == 3:
		return clienttest.Problem(status, parts[1], parts[2]), nil
	case word == "accepted":
		return clienttest.Accepted(), nil
	case word == "empty":
		return clienttest.Answer{Status: http.StatusOK, Type: "application/json"}, nil
	case word == "large":
		return clienttest.Large(5 << 20), nil
	case word == "html":
		return clienttest.HTML(http.StatusOK), nil
	case word == "noroute":
		return clienttest.NoRoute(), nil
	case word == "reset":
		return clienttest.Reset(), nil
	case word == "truncated":
		return clienttest.Truncated(), nil
	case word == "redirect":
		return clienttest.Redirect("https://login.example.com/"), nil
	case word == strings.ToUpper(word):
		return clienttest.Status(word), nil
	default:
		return clienttest.Answer{}, fmt.Errorf("unknown answer %q", word)
	}
}

// asked fails unless the API was asked that often: asked N GET /v1/replication.
func asked(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Value(apiKey{}).(*clienttest.API).Asked(args[1] + " " + args[2]); strconv.Itoa(got) != args[0] {
		ts.Fatalf("asked %d times", got)
	}
}

// act does what happens to the foundation behind the user's back.
func act(ts *testscript.TestScript, _ bool, args []string) {
	f := ts.Value(foundationKey{}).(*foundation.Foundation)
	switch args[0] {
	case "token-lifetime":
		lifetime, err := time.ParseDuration(args[1])
		ts.Check(err)
		f.SetTokenLifetime(lifetime)
	case "revoke-refresh-tokens":
		f.RevokeRefreshTokens()
	case "outage":
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		f.SetOutage(status)
	default:
		ts.Fatalf("foundation cannot %s", args[0])
	}
}

// home is a scripted API and a cf home whose plugin asks it.
func home(t testing.TB) (*clienttest.API, func(args ...string) *exec.Cmd) {
	t.Helper()
	api := clienttest.Start()
	t.Cleanup(api.Close)
	return api, homeOf(t, api)
}

// homeOf is a cf home with the plugin and a login, for tests that talk to cf by themselves.
func homeOf(t testing.TB, api *clienttest.API) (run func(args ...string) *exec.Cmd) {
	t.Helper()
	cf := installCF(t)
	_, address, stop, err := newFoundation(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stop() })
	session := &world.Session{
		CF: cf, Home: t.TempDir(), API: address, User: "jane", Password: "pass", Organization: "acme", Space: "prod",
	}
	run = func(args ...string) *exec.Cmd {
		command := session.Command(context.Background(), args...) // the test ends it
		command.Env = append(command.Env, "PG_MIGRATE_API="+api.URL, "TERM=xterm")
		return command
	}
	if err := session.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"install-plugin", "-f", build(t)},
		{"pg-migrate", "target", "db-old", "k1", "db-new", "k2"},
	} {
		if text, err := run(args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, text)
		}
	}
	return run
}

// waitFor waits until something is true.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s does not come", what)
		}
	}
}

// TestCtrlC presses Ctrl-C while the plugin waits: it says what goes on, and ends with cf (trap P5).
func TestCtrlC(t *testing.T) {
	api, run := home(t)
	api.On("GET /v1/replication", clienttest.Status("RUNNING"))

	command := run("pg-migrate", "replication", "--wait", "--poll-interval", "1s")
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	text := make(chan string, 1)
	go func() {
		var all bytes.Buffer
		_, _ = all.ReadFrom(terminal) // ends with an error when both processes are gone
		text <- all.String()
	}()
	waitFor(t, "a second look", func() bool { return api.Asked("GET /v1/replication") > 1 }) // the spinner turns by then
	if _, err := terminal.Write([]byte{3}); err != nil {                                     // Ctrl-C
		t.Fatal(err)
	}
	if err := command.Wait(); err == nil {
		t.Error("cf ended well")
	}
	select {
	case got := <-text:
		want := "Stopped. The replication goes on at the service. Look again with 'cf pg-migrate replication'."
		if strings.Count(strings.Join(strings.Fields(got), " "), want) != 1 {
			t.Errorf("got %q", got)
		}
		if strings.LastIndex(got, "\x1b[?25l") > strings.LastIndex(got, "\x1b[?25h") {
			t.Error("the cursor stays hidden")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the plugin goes on without cf")
	}
}

// TestNoOrphan kills cf alone: the plugin ends with it (trap P5).
func TestNoOrphan(t *testing.T) {
	api, run := home(t)
	api.On("GET /v1/replication", clienttest.Status("RUNNING"))

	command := run("pg-migrate", "replication", "--wait", "--poll-interval", "1s")
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out // a pipe, which lives as long as the plugin
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "a first look", func() bool { return api.Asked("GET /v1/replication") > 0 })
	if err := command.Process.Signal(syscall.SIGKILL); err != nil { // cf alone
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = command.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the plugin goes on without cf")
	}
	if strings.Contains(out.String(), "FAILED") {
		t.Errorf("got %q", out.String())
	}
}

// TestPromptOnATerminal answers a question with Return, and with y (trap P36).
func TestPromptOnATerminal(t *testing.T) {
	api, run := home(t)
	api.On("DELETE /v1/replication", clienttest.Accepted())
	for answer, want := range map[string]int{"\r": 0, "y\r": 1} {
		before := api.Asked("DELETE /v1/replication")
		command := run("pg-migrate", "delete-replication")
		terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: 60})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(terminal, answer)
		var all bytes.Buffer
		_, _ = all.ReadFrom(terminal)
		err = command.Wait()
		_ = terminal.Close()
		if got := api.Asked("DELETE /v1/replication") - before; got != want || (err == nil) != (want == 1) {
			t.Errorf("%q: %d requests, %v\n%s", answer, got, err, all.String())
		}
	}
}

// TestNarrowTerminal waits on a terminal of 40 columns (trap P12).
func TestNarrowTerminal(t *testing.T) {
	api, run := home(t)
	running := clienttest.Status("RUNNING")
	api.On("GET /v1/replication", running, running, clienttest.Status("IN-SYNC"))
	api.On("GET /v1/replication/progress", clienttest.JSON(map[string]any{
		"status": "RUNNING", "phase": "copying", "bytes_copied": 1_200_000_000, "bytes_total": 2_600_000_000, "rows_copied": 1, "rows_total": 2,
		"bytes_per_second": 85_000_000, "tables_total": 1, "warnings": []string{"a warning that is far longer than the line of this terminal"},
		"tables": []map[string]any{{"schema": "public", "name": "a_table_with_a_long_name", "phase": "COPYING", "bytes_copied": 1, "bytes_total": 2}},
	}))
	command := run("pg-migrate", "replication", "--wait", "--poll-interval", "1s")
	terminal, err := pty.StartWithSize(command, &pty.Winsize{Rows: 24, Cols: 40})
	if err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	_, _ = all.ReadFrom(terminal)
	if err := command.Wait(); err != nil {
		t.Fatal(err)
	}
	text := regexp.MustCompile("\x1b\\[[0-?]*[a-zA-Z]").ReplaceAllString(all.String(), "")
	for _, line := range strings.FieldsFunc(text, func(r rune) bool { return r == '\r' || r == '\n' }) {
		// Banners and commands to type are never broken.
		if len(line) > 40 && !strings.HasPrefix(line, "Getting") && !strings.HasPrefix(line, "Next") {
			t.Errorf("%q", line)
		}
	}
	for _, want := range []string{"RUNNING, copying", "public.a_t..", "status:   IN-SYNC", "rate:     85.0 MB/s"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
