package plugin

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"code.cloudfoundry.org/cli/plugin"
	"code.cloudfoundry.org/cli/plugin/pluginfakes"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// TestMetadata: what cf can show, and which flags never arrive (traps P15 to P18).
func TestMetadata(t *testing.T) {
	metadata := (&PgMigrate{Version: "1.22.3-rc.1+x"}).GetMetadata()
	if metadata.Name != "pg-migrate" || metadata.Version != (plugin.VersionType{Major: 1, Minor: 22, Build: 3}) {
		t.Errorf("got %+v", metadata)
	}
	details := metadata.Commands[0].UsageDetails
	for _, c := range commands.Table() {
		if !strings.Contains(details.Usage, "\n   "+c.Name+" ") || !strings.Contains(details.Usage, "CF_NAME pg-migrate "+c.Name) {
			t.Errorf("%s is missing in the usage", c.Name)
		}
		for _, flag := range c.Flags() {
			text, found := details.Options[strings.TrimPrefix(flag.Names(), "--")]
			if !found || !strings.Contains(text, flag.Text) {
				t.Errorf("flag %s of %s: %q", flag.Name, c.Name, text)
			}
		}
	}
	if strings.Contains(details.Usage, "{{") {
		t.Error("cf takes the usage for a template")
	}
	for _, key := range []string{"v", "h", "help"} {
		if _, found := details.Options[key]; found {
			t.Errorf("flag %s never arrives", key)
		}
	}
	if got := details.Options["wait"]; got != "Wait until it is IN-SYNC (create-replication, replication); "+
		"Wait until it is gone (delete-replication, delete-finalization); Wait until it is COMPLETED (create-finalization, finalization)" {
		t.Errorf("wait: %s", got)
	}
}

// TestVersionType: cf has room for three numbers (trap P39).
func TestVersionType(t *testing.T) {
	for text, want := range map[string]plugin.VersionType{
		"0.1.0-dev": {Minor: 1}, "2": {Major: 2}, "nonsense": {}, "": {}, "1.2.3": {Major: 1, Minor: 2, Build: 3},
	} {
		if got := versionType(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestUninstallKeepsAll: cf calls this on every upgrade (trap P20).
func TestUninstallKeepsAll(t *testing.T) {
	p := &PgMigrate{}
	p.Run(nil, []string{uninstallMessage}) // any call to cf would panic
	if p.status != 0 {
		t.Errorf("status %d", p.status)
	}
}

// TestRun: cf learns the exit status, though Run cannot return it (trap P40).
func TestRun(t *testing.T) {
	t.Setenv("CF_HOME", t.TempDir())
	t.Setenv("CF_TRACE", "")
	p := &PgMigrate{Version: "1.2.3"}
	for want, args := range map[int][]string{
		0: {"pg-migrate", "version"},
		1: {"pg-migrate", "replication"},
	} {
		if p.Run(&pluginfakes.FakeCliConnection{}, args); p.status != want {
			t.Errorf("%v: %d", args, p.status)
		}
	}
	if p.Run(&pluginfakes.FakeCliConnection{}, []string{"pg-migrate"}); p.status != 1 {
		t.Error("nothing is something")
	}
	if status := p.run(nil, []string{"version", "--json"}); status != 0 {
		t.Error(status)
	}
}

// TestPanic: a fault is told in a line (trap P41).
func TestPanic(t *testing.T) {
	var out, err bytes.Buffer
	streams := &ui.Streams{Out: &out, Err: &err}
	p := &PgMigrate{Version: "1.2.3"}
	if status := p.crashed(streams, "kaboom", env(nil)); status != 1 || strings.Contains(err.String(), "goroutine") {
		t.Errorf("%d, %s", status, err.String())
	}
	if !strings.Contains(err.String(), "pg-migrate 1.2.3 has a fault: kaboom") || out.Len() > 0 {
		t.Errorf("%s", err.String())
	}
	p.crashed(streams, "kaboom", env(map[string]string{"CF_TRACE": "true"}))
	if !strings.Contains(err.String(), "goroutine") {
		t.Error("no stack in the trace")
	}
}

func TestTrace(t *testing.T) {
	var stderr bytes.Buffer
	for value, want := range map[string]bool{"": false, "false": false, "0": false, "true": true, "1": true} {
		w, closeIt, err := openTrace(value, &stderr)
		closeIt()
		if (w != nil) != want || err != nil {
			t.Errorf("%q: %v, %v", value, w, err)
		}
	}
	path := filepath.Join(t.TempDir(), "trace")
	w, closeIt, err := openTrace(path, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte("x"))
	closeIt()
	if info, err := os.Stat(path); err != nil || info.Size() != 1 || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if w, _, err := openTrace(filepath.Join(path, "no"), &stderr); err == nil || w != nil {
		t.Error("opened below a file")
	}
}

func TestAlone(t *testing.T) {
	p := &PgMigrate{Version: "1.2.3"}
	for _, test := range []struct {
		args   []string
		status int
		out    string
		err    string
	}{
		{[]string{"x"}, 1, "", "cf install-plugin x"},
		{[]string{"x", "replication"}, 1, "", "does not run on its own"},
		{[]string{"x", "--version"}, 0, "1.2.3\n", ""},
		{[]string{"x", "version"}, 0, "1.2.3\n", ""},
		{[]string{"x", "--help"}, 0, "SUBCOMMANDS", ""},
		{[]string{"x", "help", "target"}, 0, "SOURCE_KEY", ""},
	} {
		var out, err bytes.Buffer
		status := p.alone(test.args, &ui.Streams{Out: &out, Err: &err})
		if status != test.status || !strings.Contains(out.String(), test.out) || !strings.Contains(err.String(), test.err) {
			t.Errorf("%v: %d, %s, %s", test.args, status, out.String(), err.String())
		}
	}
	for arg, want := range map[string]bool{"53121": true, "70000": false, "help": false, "-1": false} {
		if isPort(arg) != want {
			t.Error(arg)
		}
	}
	if status := Main([]string{"x", "--version"}, "v1.2.3"); status != 0 {
		t.Error(status)
	}
	login, err := noSession{}.Login(context.Background())
	if login.LoggedIn || err != nil {
		t.Error(login, err)
	}
	var failure *commands.TokenError
	if _, err := (noSession{}).AccessToken(context.Background()); !errors.As(err, &failure) {
		t.Error(err)
	}
}
