package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// fact is something that the figures depend on.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// describe notes what the figures are of.
func (b *bench) describe(ctx context.Context) error {
	b.fact("processors", fmt.Sprintf("%d, %s", runtime.NumCPU(), firstMatch("/proc/cpuinfo", `(?m)^model name\s*: (.*)$`)))
	b.fact("memory", firstMatch("/proc/meminfo", `MemTotal:\s*(.*)`))
	b.fact("kernel", firstMatch("/proc/version", `^(\S+ \S+ \S+)`))
	b.fact("Go", runtime.Version())
	b.fact("commit", commit())
	for _, side := range []struct {
		name    string
		cluster *postgres.Cluster
	}{{"source", b.source}, {"target", b.target}} {
		version, err := query[string](ctx, side.cluster.URL("postgres"), "SELECT version()")
		if err != nil {
			return err
		}
		b.fact(side.name, version)
	}
	if b.pgcopydb != "" {
		version, err := exec.CommandContext(ctx, b.pgcopydb, "--version").Output()
		if err != nil {
			return fmt.Errorf("asking pgcopydb for its version: %w", err)
		}
		b.fact("pgcopydb", strings.TrimPrefix(firstLine(version), "pgcopydb version "))
	}
	settings := []string{"fsync on", "synchronous_commit on"}
	for _, name := range slices.Sorted(maps.Keys(clusterSettings)) {
		settings = append(settings, name+" "+clusterSettings[name])
	}
	b.fact("settings of both servers", strings.Join(settings, ", "))
	s := b.settings
	b.fact("settings of our engine", fmt.Sprintf("CopyWorkers %d, PartBytes %d MB, IndexWorkers %d", s.CopyWorkers, s.PartBytes>>20, s.IndexWorkers))
	b.fact("command", "benchmarks "+strings.Join(os.Args[1:], " "))
	return nil
}

func (b *bench) fact(name, value string) { b.Machine = append(b.Machine, fact{name, value}) }

// commit is what this program was built from.
func commit() string {
	text := "unknown"
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return text
	}
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			text = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			text += " with changes"
		}
	}
	return text
}

func firstLine(text []byte) string {
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// firstMatch gives what a pattern finds in a file, nothing if there is none.
func firstMatch(file, pattern string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	m := regexp.MustCompile(pattern).FindSubmatch(text)
	if m == nil {
		return ""
	}
	return string(m[1])
}
