package commands

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	db := &Target{SourceInstance: "a", SourceKey: "b", TargetInstance: "c", TargetKey: "d"}
	for line, want := range map[string]options{
		"target":                           &targetOptions{},
		"target a b c d":                   &targetOptions{target: db},
		"target --no-check a b c d":        &targetOptions{target: db, noCheck: true},
		"target a b --no-check c d --json": &targetOptions{target: db, noCheck: true},
		"target a b c d --no-check":        &targetOptions{target: db, noCheck: true},
		"target a -- --no-check c d":       &targetOptions{target: &Target{"a", "--no-check", "c", "d"}},
		"target - b c d":                   &targetOptions{target: &Target{"-", "b", "c", "d"}},
		"target --unset":                   &targetOptions{unset: true},
		"api":                              &apiOptions{},
		"api https://X.example.com/v1/ --ca-cert f": &apiOptions{ca: "f", saved: &SavedAPI{URL: "https://x.example.com", CACert: "f"}},
		"api --skip-ssl-validation https://x":       &apiOptions{skip: true, saved: &SavedAPI{URL: "https://x", SkipSSLValidation: true}},
		"preflight-check --strict":                  &preflightCheckOptions{strict: true},
		"replication --wait --timeout 1m30s":        &replicationOptions{waiting{wait: true, timeout: 90 * time.Second}},
		"replication --poll-interval=1s --wait":     &replicationOptions{waiting{wait: true, interval: time.Second}},
		"create-replication":                        &createReplicationOptions{},
		"create-finalization -f":                    &createFinalizationOptions{force: true},
		"create-finalization --force --wait":        &createFinalizationOptions{force: true, waiting: waiting{wait: true}},
		"delete-replication -f --clean-target":      &deleteReplicationOptions{deletion{force: true}, true},
		"delete-finalization --wait -f":             &deleteFinalizationOptions{deletion{waiting{wait: true}, true}},
		"finalization":                              &finalizationOptions{},
		"tables":                                    &tablesOptions{sort: "name"},
		"tables --all --sort=size":                  &tablesOptions{sort: "size", all: true},
		"version":                                   &versionOptions{},
	} {
		args := strings.Fields(line)
		command, err := find(args[0])
		if err != nil {
			t.Fatal(err)
		}
		got, asJSON, err := parse(command, args[1:])
		if err != nil || !reflect.DeepEqual(got, want) || asJSON != slices.Contains(args, "--json") {
			t.Errorf("%s: %+v, %v, %v", line, got, asJSON, err)
		}
	}
}

// TestParseRefuses: no argument is ignored (trap P19).
func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		"target a b c":                             "Four names",
		"target a b c d e":                         `"e" is one argument too many`,
		"target a b a d":                           "same service instance",
		"target --unset a":                         "too many",
		"target --unset --no-check":                "no meaning with --unset",
		"target --no-check":                        "with names only",
		"target a b c d --nocheck":                 `Did you mean "--no-check"?`,
		"target -f":                                `"-f" is not a flag`,
		"target -json":                             `Did you mean "--json"?`,
		"api https://a https://b":                  "too many",
		"api --unset https://a":                    "too many",
		"api --unset --skip-ssl-validation":        "no meaning with --unset",
		"api --ca-cert f":                          "with a URL only",
		"api https://a --ca-cert":                  "--ca-cert needs a value: --ca-cert FILE",
		"api https://a --ca-cert=":                 "needs a file",
		"api https://a --ca-cert --json":           "needs a value",
		"api nonsense":                             "https://",
		"replication x":                            "too many",
		"replication --wait=yes":                   "--wait takes no value",
		"replication --timeout 1m":                 "with --wait only",
		"replication --poll-interval 5s":           "with --wait only",
		"replication --wait --timeout 0s":          "more than zero",
		"replication --wait --timeout=-1s":         "more than zero",
		"replication --wait --timeout 10":          "not a duration",
		"replication --wait --timeout -1s":         "needs a value",
		"replication --wait --poll-interval 999ms": "at least 1s",
		"replication --strict":                     "not a flag",
		"replication -f":                           "not a flag",
		"replication -v":                           "not a flag",
		"create-replication x":                     "too many",
		"create-replication -f":                    "not a flag",
		"create-finalization x":                    "too many",
		"create-finalization --clean-target":       "not a flag",
		"delete-replication x":                     "too many",
		"delete-finalization x":                    "too many",
		"delete-finalization --timeout 1s":         "with --wait only",
		"finalization x":                           "too many",
		"preflight-check --wait":                   "not a flag",
		"tables x":                                 "too many",
		"version x":                                "too many",
		"help a b":                                 "not a subcommand",
		"help target b":                            "too many",
	} {
		args := strings.Fields(line)
		command, err := find(args[0])
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = parse(command, args[1:])
		var failure *Failure
		if !errors.As(err, &failure) || failure.Code != Usage || !strings.Contains(failure.Message, want) {
			t.Errorf("%s: %v", line, err)
		}
	}
	command, _ := find("target")
	if _, _, err := parse(command, []string{"a", "", "c", "d"}); err == nil {
		t.Error("an empty name passed")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("target\x00a\x00--no-check\x00--\x00-x\x00d")
	f.Add("replication\x00--wait\x00--timeout\x001s\x00--poll-interval=2s")
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		command, err := find(args[0])
		if err != nil {
			return
		}
		parsed, _, err := parse(command, args[1:])
		var failure *Failure
		if err != nil && (!errors.As(err, &failure) || failure.Code != Usage || parsed != nil) {
			t.Errorf("%q: %v", args, err)
		}
	})
}

func TestTableAgrees(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range Table() {
		if seen[c.Name] || c.Summary == "" || len(c.Synopses) == 0 {
			t.Errorf("%s: %+v", c.Name, c)
		}
		seen[c.Name] = true
		synopses := strings.Join(c.Synopses, " ")
		for _, flag := range c.Flags() {
			shown := "--" + flag.Name
			if flag.Short != "" {
				shown = "-" + flag.Short
			}
			if flag.Name != "json" && !strings.Contains(synopses, shown) {
				t.Errorf("the usage of %s lacks %s", c.Name, shown)
			}
			if flag.Short == "v" || flag.Short == "h" || flag.Name == "help" {
				t.Errorf("cf never passes on %s", shown)
			}
		}
		for _, line := range append(c.Usage("cf pg-migrate"), strings.Split(c.Details, "\n")...) {
			if len(line) > 120 || strings.Contains(line, "{{") {
				t.Errorf("%s: %q", c.Name, line)
			}
		}
	}
	for _, name := range strings.Fields("target api preflight-check create-replication replication delete-replication " +
		"create-finalization finalization delete-finalization tables help version") {
		if !seen[name] {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"replication", "finalization", "target", "tables"}
	for name, want := range map[string]string{
		"replicatoin": "replication", "finalisation": "finalization", "tagret": "target", "table": "tables", "xyz": "", "": "",
		"create-everything": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("%q: %q", name, got)
		}
	}
}

// TestParseAddress: where a token may go (trap P23), and what may stand after the host (trap P27).
func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"https://x.example.com":          "https://x.example.com",
		"https://X.example.com:8443/":    "https://x.example.com:8443",
		"https://x.example.com/v1":       "https://x.example.com",
		"https://x.example.com/base/v1/": "https://x.example.com/base",
		"http://127.0.0.1:80":            "http://127.0.0.1:80",
		"http://localhost/v1":            "http://localhost",
		"http://[::1]:80":                "http://[::1]:80",
		"http://example.com":             "",
		"http://127.0.0.1.example.com":   "",
		"ftp://example.com":              "",
		"example.com":                    "",
		"https://":                       "",
		"https://:80":                    "",
		"https://u@example.com":          "",
		"https://u:p@example.com":        "",
		"https://example.com?x=1":        "",
		"https://example.com?":           "",
		"https://example.com#x":          "",
		"https://example.com#":           "",
		"https://exa mple.com":           "",
		"":                               "",
	} {
		got, err := parseAddress(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestDeriveAddress: a token goes to no guessed host (trap P23).
func TestDeriveAddress(t *testing.T) {
	for cfAPI, want := range map[string]string{
		"https://api.cf.eu10.hana.ondemand.com": "https://pg-migrate.cf.eu10.hana.ondemand.com",
		"https://API.CF.example.com/":           "https://pg-migrate.cf.example.com",
		"https://api.example.com":               "",
		"https://api.cf":                        "",
		"https://api.cf.":                       "",
		"https://cf.example.com":                "",
		"http://api.cf.example.com":             "",
		"https://api.cf.example.com:8443":       "",
		"https://api.cf.example.com/x":          "",
		"https://u@api.cf.example.com":          "",
		"http://127.0.0.1:1234":                 "",
		"":                                      "",
		":":                                     "",
	} {
		got := deriveAddress(cfAPI)
		if (got != nil) != (want != "") || got != nil && got.String() != want {
			t.Errorf("%q: %v", cfAPI, got)
		}
	}
}

func TestQuote(t *testing.T) {
	for name, want := range map[string]string{"db-1": "db-1", "-x": "'-x'", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''"} {
		if got := quote(name); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}

func TestSentence(t *testing.T) {
	for text, want := range map[string]string{"": "", "a b": "A b.", "Über": "Über.", "why?": "Why?"} {
		if got := sentence(errors.New(text)); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestSameDomain(t *testing.T) {
	for text, want := range map[string]bool{
		"https://pg-migrate.cf.example.com": true, "https://x.other.com": false, "http://127.0.0.1:1": true, "https://evilcf.example.com": false,
	} {
		if got := sameDomain(text, "https://api.cf.example.com"); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
	if sameDomain("https://x", ":") || sameDomain("https://x.y", "https://localhost") {
		t.Error("no domain is no domain")
	}
}
