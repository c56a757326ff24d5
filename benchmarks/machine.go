package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"runtime"
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
	if commit, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil {
		b.fact("commit", string(bytes.TrimSpace(commit)))
	}
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
			return fmt.Errorf("ask pgcopydb's version: %w", err)
		}
		b.fact("pgcopydb", strings.TrimPrefix(firstLine(version), "pgcopydb version "))
	}
	settings := []string{"fsync on", "synchronous_commit on"}
	for _, name := range slices.Sorted(maps.Keys(clusterSettings)) {
		settings = append(settings, name+" "+clusterSettings[name])
	}
	b.fact("settings of both servers", strings.Join(settings, ", "))
	s := b.engine.Settings
	b.fact("settings of our engine", fmt.Sprintf("%d tables copied at once, %d indexes built at once", s.CopyWorkers, s.IndexWorkers))
	b.fact("command", "go run ./benchmarks "+strings.Join(os.Args[1:], " "))
	return nil
}

func (b *bench) fact(name, value string) { b.Machine = append(b.Machine, fact{name, value}) }

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
