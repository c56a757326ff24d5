package commands_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
	"github.com/cf-pg-migrate/cf-pg-migrate/commands/schematest"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

var update = flag.Bool("update", false, "write the golden files anew")

// world is a place for commands without anything real in it.
type world struct {
	t       *testing.T
	api     *clienttest.API
	session *fakeSession
	store   *fakeStore
	clock   *fakeClock
	streams *ui.Streams
	env     map[string]string
	out     *bytes.Buffer
	err     *bytes.Buffer
}

// newWorld is a session in acme/prod with a saved target, off a terminal.
func newWorld(t *testing.T) *world {
	t.Helper()
	api := clienttest.Start()
	t.Cleanup(api.Close)
	w := &world{
		t: t, api: api,
		session: &fakeSession{login: commands.Login{
			LoggedIn: true, API: "https://api.cf.example.com", User: "jane",
			Org: commands.Place{Name: "acme", GUID: "org-guid"}, Space: commands.Place{Name: "prod", GUID: "space-guid"},
		}},
		store: &fakeStore{targets: map[string]commands.Target{}, apis: map[string]commands.SavedAPI{}},
		clock: &fakeClock{now: time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)},
		env:   map[string]string{"PG_MIGRATE_API": api.URL},
		out:   &bytes.Buffer{}, err: &bytes.Buffer{},
	}
	w.store.targets["https://api.cf.example.com space-guid"] = commands.Target{
		SourceInstance: "db-old", SourceKey: "k1", TargetInstance: "db-new", TargetKey: "k2",
	}
	w.streams = &ui.Streams{In: strings.NewReader(""), Out: w.out, Err: w.err, Width: func() int { return 80 }}
	return w
}

func (w *world) terminal() *world {
	w.streams.InTerminal, w.streams.OutTerminal, w.streams.ErrTerminal = true, true, true
	return w
}

// run runs a command and gives its exit status.
func (w *world) run(args ...string) int {
	return w.runIn(w.t.Context(), args...)
}

func (w *world) runIn(ctx context.Context, args ...string) int {
	before := w.out.Len()
	status := commands.Execute(ctx, &commands.Environment{
		Program: "cf pg-migrate", Version: "1.2.3", UserAgent: "cf-pg-migrate/1.2.3",
		Streams: w.streams, Session: w.session, Store: w.store, Clock: w.clock,
		Getenv: func(name string) string { return w.env[name] },
	}, args)
	if slices.Contains(args, "--json") && w.streams.Out == w.out { // else what was written is lost on purpose
		if err := schematest.Validate("../docs/json.md", w.out.Bytes()[before:]); err != nil {
			w.t.Errorf("%v: %v", args, err)
		}
	}
	return status
}

// transcript is all that came out, with addresses that are the same in each run.
func (w *world) transcript(args []string, status int) string {
	text := "$ cf pg-migrate " + strings.Join(args, " ") + "\n--- stdout\n" + w.out.String() + "--- stderr\n" + w.err.String() +
		"--- exit " + strconv.Itoa(status) + "\n"
	return strings.ReplaceAll(text, strings.TrimPrefix(w.api.URL, "http://"), "127.0.0.1:PORT")
}

// golden compares a text with a file in testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Errorf("%s differs, see -update; got\n%s", path, text)
	}
}

type fakeSession struct {
	mu     sync.Mutex
	login  commands.Login
	err    error   // of Login
	tokens []error // one for each call, the last again and again
	asked  int
}

func (s *fakeSession) Login(context.Context) (commands.Login, error) { return s.login, s.err }

func (s *fakeSession) AccessToken(context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	if len(s.tokens) == 0 {
		return "token", nil
	}
	err := s.tokens[0]
	if len(s.tokens) > 1 {
		s.tokens = s.tokens[1:]
	}
	if err != nil {
		return "", err
	}
	return "token", nil
}

type fakeStore struct {
	targets map[string]commands.Target
	apis    map[string]commands.SavedAPI
	err     error
}

func (s *fakeStore) Target(api, space string) (commands.Target, bool, error) {
	target, found := s.targets[api+" "+space]
	return target, found, s.err
}

func (s *fakeStore) SaveTarget(api, space string, target commands.Target) error {
	s.targets[api+" "+space] = target
	return s.err
}

func (s *fakeStore) RemoveTarget(api, space string) (bool, error) {
	_, found := s.targets[api+" "+space]
	delete(s.targets, api+" "+space)
	return found, s.err
}

func (s *fakeStore) API(api string) (commands.SavedAPI, bool, error) {
	saved, found := s.apis[api]
	return saved, found, s.err
}

func (s *fakeStore) SaveAPI(api string, saved commands.SavedAPI) error {
	s.apis[api] = saved
	return s.err
}

func (s *fakeStore) RemoveAPI(api string) (bool, error) {
	_, found := s.apis[api]
	delete(s.apis, api)
	return found, s.err
}

// fakeClock goes on only when somebody sleeps.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	sleeps []time.Duration
	// onSleep is called before each sleep; may be nil.
	onSleep func()
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Sleep(ctx context.Context, d time.Duration) error {
	if c.onSleep != nil {
		c.onSleep()
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.sleeps = append(c.sleeps, d)
	return nil
}

var errDead = errors.New("dead")
