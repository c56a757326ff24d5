package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

const cfAPI = "https://api.cf.example.com"

func env(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

func newTestStore(t *testing.T) *store {
	t.Helper()
	return newStore(env(map[string]string{"CF_HOME": t.TempDir()}), "linux")
}

// TestStore: each foundation and each space has its own (trap P21). Reading writes nothing (trap P24).
func TestStore(t *testing.T) {
	s := newTestStore(t)
	one := commands.Target{SourceInstance: "a", SourceKey: "b", TargetInstance: "c", TargetKey: "d"}
	two := commands.Target{SourceInstance: "e"}
	if _, found, err := s.Target(cfAPI, "s1"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if existed, err := s.RemoveTarget(cfAPI, "s1"); existed || err != nil {
		t.Errorf("existed %v, %v", existed, err)
	}
	if _, err := os.Stat(filepath.Dir(s.path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("reading wrote: %v", err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(s.SaveTarget(cfAPI, "s1", one))
	check(s.SaveTarget(cfAPI, "s2", two))
	check(s.SaveTarget("https://other", "s1", two))
	check(s.SaveAPI(cfAPI, commands.SavedAPI{URL: "https://x", SkipSSLValidation: true, CACert: "/ca"}))
	if got, found, err := s.Target(cfAPI, "s1"); got != one || !found || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if got, found, err := s.API(cfAPI); got.CACert != "/ca" || !found || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	if _, found, err := s.API("https://other"); found || err != nil {
		t.Errorf("found %v, %v", found, err)
	}
	if runtime.GOOS != "windows" {
		for path, want := range map[string]os.FileMode{s.path: 0o600, filepath.Dir(s.path): 0o700} {
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %v, %v", path, info.Mode(), err)
			}
		}
	}
	if existed, err := s.RemoveAPI(cfAPI); !existed || err != nil {
		t.Errorf("existed %v, %v", existed, err)
	}
	if existed, err := s.RemoveAPI(cfAPI); existed || err != nil {
		t.Errorf("existed %v, %v", existed, err)
	}
	for _, space := range []string{"s1", "s2"} {
		if existed, err := s.RemoveTarget(cfAPI, space); !existed || err != nil {
			t.Errorf("existed %v, %v", existed, err)
		}
	}
	text, err := os.ReadFile(s.path)
	if err != nil || strings.Contains(string(text), cfAPI) || !strings.Contains(string(text), `"version": 1`) {
		t.Errorf("%s, %v", text, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(s.path), ".config-*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// TestStoresAtOnceLoseNothing writes from twenty plugins at once (trap P24).
func TestStoresAtOnceLoseNothing(t *testing.T) {
	home := env(map[string]string{"CF_HOME": t.TempDir()})
	var all sync.WaitGroup
	for n := range 20 {
		all.Go(func() {
			s := newStore(home, "linux") // as another process would have it
			if err := s.SaveTarget(cfAPI, fmt.Sprint(n), commands.Target{SourceInstance: "a"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	saved, err := newStore(home, "linux").read()
	if err != nil || len(saved.Foundations[cfAPI].Targets) != 20 {
		t.Errorf("%v, %v", saved, err)
	}
}

// TestDamagedStore: a damaged file is named and left as it is (trap P24).
func TestDamagedStore(t *testing.T) {
	for name, test := range map[string]struct{ text, want, hint string }{
		"empty":      {"", "damaged", "delete the file"},
		"half":       {`{"version": 1, "f`, "damaged", "delete the file"},
		"no version": {`{}`, "names no version", "delete the file"},
		"newer":      {`{"version": 2}`, "version 2", "newer version of the plugin"},
	} {
		s := newTestStore(t)
		if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.path, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, readErr := s.Target(cfAPI, "s")
		for _, err := range []error{readErr, s.SaveTarget(cfAPI, "s", commands.Target{})} {
			var config *commands.ConfigError
			if !errors.As(err, &config) || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), s.path) || !strings.Contains(config.Hint, test.hint) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if text, _ := os.ReadFile(s.path); string(text) != test.text {
			t.Errorf("%s: the file was changed", name)
		}
	}
	s := newTestStore(t)
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path, []byte(`{"version": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, found, err := s.Target(cfAPI, "s"); found || err != nil {
		t.Error(err)
	}
}

// TestUnusableHome: no home, or one that is a file (trap P25).
func TestUnusableHome(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := newStore(env(nil), "linux")
	for name, s := range map[string]*store{
		"none":   nowhere,
		"a file": newStore(env(map[string]string{"CF_HOME": file}), "linux"),
	} {
		_, _, readErr := s.API(cfAPI)
		_, removeErr := s.RemoveTarget(cfAPI, "s")
		for _, err := range []error{readErr, removeErr, s.SaveAPI(cfAPI, commands.SavedAPI{})} {
			var config *commands.ConfigError
			if !errors.As(err, &config) || config.Hint == "" {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestCFHome finds the folder that cf finds (trap P25).
func TestCFHome(t *testing.T) {
	folder := t.TempDir()
	for name, test := range map[string]struct {
		system string
		values map[string]string
		want   string
	}{
		"CF_HOME":               {"linux", map[string]string{"CF_HOME": "/c", "HOME": "/h"}, "/c"},
		"HOME":                  {"darwin", map[string]string{"HOME": "/h"}, "/h"},
		"windows drive":         {"windows", map[string]string{"HOME": "/h", "HOMEDRIVE": folder, "HOMEPATH": "", "USERPROFILE": "/u"}, folder},
		"windows drive is gone": {"windows", map[string]string{"HOMEDRIVE": "/gone", "HOMEPATH": "/x", "USERPROFILE": "/u"}, "/u"},
		"windows profile":       {"windows", map[string]string{"USERPROFILE": "/u"}, "/u"},
	} {
		if got, err := cfHome(env(test.values), test.system); got != test.want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
