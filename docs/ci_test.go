package docs

import (
	"encoding/json"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// firstGroup gives what the first group of an expression matches in a file of the repository.
func firstGroup(t *testing.T, file, expression string) string {
	t.Helper()
	text, err := os.ReadFile("../" + file)
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(expression).FindStringSubmatch(string(text))
	if m == nil {
		t.Fatalf("%s has nothing like %s", file, expression)
	}
	return m[1]
}

// TestGitHubRunsTheSame makes sure that GitHub runs the steps of .ci/run, all of them and by that script.
func TestGitHubRunsTheSame(t *testing.T) {
	const workflow = ".github/workflows/ci.yml"
	here := strings.Fields(firstGroup(t, ".ci/run", `(?m)^steps=\((.*)\)$`))
	there := strings.Split(firstGroup(t, workflow, `(?m)^ +step: \[([^]]*)\]`), ", ")
	if !slices.Equal(here, there) {
		t.Errorf(".ci/run has the steps %v, %s %v", here, workflow, there)
	}
	text, err := os.ReadFile("../" + workflow)
	if err != nil {
		t.Fatal(err)
	}
	var runs []string
	for _, m := range regexp.MustCompile(`(?m)^ +(?:- )?run: (.*)$`).FindAllStringSubmatch(string(text), -1) {
		if !strings.HasPrefix(m[1], "git config ") {
			runs = append(runs, m[1])
		}
	}
	if !slices.Equal(runs, []string{".ci/run ${{ matrix.step }}"}) {
		t.Errorf("%s runs %q", workflow, runs)
	}
}

// TestTheImageIsBuiltAsElsewhere makes sure that the service in the image knows its version, as that of make build does.
func TestTheImageIsBuiltAsElsewhere(t *testing.T) {
	elsewhere := firstGroup(t, "Makefile", `(?m)^LDFLAGS := (.*)$`)
	image := firstGroup(t, "deploy/Dockerfile", `(?m)^RUN .* -ldflags "(.*)" -o`)
	if want := strings.ReplaceAll(elsewhere, "$(VERSION)", "$VERSION"); image != want {
		t.Errorf("the image is built with %q, elsewhere with %q", image, want)
	}
}

// TestGoIsTheSameEverywhere makes sure that all builds take the Go that go.mod asks for.
func TestGoIsTheSameEverywhere(t *testing.T) {
	want := firstGroup(t, "go.mod", `(?m)^go (\d+\.\d+)`)
	for file, expression := range map[string]string{
		".github/workflows/ci.yml":        `golang:(\d+\.\d+)-bookworm`,
		".github/workflows/release.yml":   `golang:(\d+\.\d+)-bookworm`,
		"deploy/Dockerfile":               `golang:(\d+\.\d+)-bookworm`,
		".devcontainer/devcontainer.json": `golang:(\d+\.\d+)-bookworm`,
		"docs/contributing.md":            `Debian 12 with Go (\d+\.\d+)`,
	} {
		if got := firstGroup(t, file, expression); got != want {
			t.Errorf("%s has Go %s, go.mod %s", file, got, want)
		}
	}
}

// TestGoldenFilesAreMadeAnew makes sure that make golden runs every test that writes what it compares with.
func TestGoldenFilesAreMadeAnew(t *testing.T) {
	made := regexp.MustCompile("^(" + firstGroup(t, "Makefile", `(?m)^GOLDEN := (.*)$`) + ")$")
	writes := regexp.MustCompile(`\*update\b|\bgolden\(t`)
	found := 0
	for path, text := range repository(t) {
		if !strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "docs/") {
			continue
		}
		for _, m := range testFunc.FindAllStringSubmatchIndex(text, -1) {
			test, body := text[m[2]:m[3]], text[m[0]:]
			body, _, _ = strings.Cut(body, "\n}\n")
			if !writes.MatchString(body) {
				continue
			}
			found++
			if !made.MatchString(test) {
				t.Errorf("%s of %s is not in make golden", test, path)
			}
		}
	}
	if found < 4 {
		t.Errorf("only %d tests that write were found", found)
	}
}

// TestEveryModuleIsKeptCurrent makes sure that dependabot knows all modules.
func TestEveryModuleIsKeptCurrent(t *testing.T) {
	known := strings.Split(firstGroup(t, ".github/dependabot.yml", `(?m)^ +directories: \[(.*)\]$`), ", ")
	known = append(known, "/fixtures/cf") // pinned, see there
	var modules []string
	walk(t, func(file string) {
		if path.Base(file) == "go.mod" {
			modules = append(modules, path.Dir("/"+file))
		}
	})
	slices.Sort(known)
	slices.Sort(modules)
	if !slices.Equal(known, modules) {
		t.Errorf("dependabot knows %v of %v", known, modules)
	}
}

// TestTheDevcontainerIsJSON makes sure that editors can read it.
func TestTheDevcontainerIsJSON(t *testing.T) {
	text, err := os.ReadFile("../.devcontainer/devcontainer.json")
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Error("it is not JSON")
	}
}
