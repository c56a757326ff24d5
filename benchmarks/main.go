// Command benchmarks moves databases with our engine and with other tools, side by side on one machine, and prints how long
// each takes. docs/benchmarks.md says how to read the figures.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
)

// options are what the user of the benchmarks can choose.
type options struct {
	parts, databases, tools list
	scale, runs, backlog    int
	rates                   list
	seconds                 int
	source, target          int
	settings                engine.Settings
	out                     string
	markdown, profile       bool
}

// list is a flag of words with commas in between.
type list []string

// String is the flag's text.
func (l *list) String() string { return strings.Join(*l, ",") }

// Set reads the flag's text.
func (l *list) Set(text string) error {
	*l = strings.Split(text, ",")
	return nil
}

func defaults() options {
	return options{
		parts:     list{"copy", "apply", "lag", "cutover"},
		databases: list{"pgbench", "mixed"},
		tools:     toolNames(),
		scale:     50,
		runs:      3,
		backlog:   100_000,
		rates:     list{"500", "1000"},
		seconds:   30,
		source:    15,
		target:    15,
		settings:  engine.Defaults(),
		out:       ".build/bench",
	}
}

func main() {
	o := defaults()
	flag.Var(&o.parts, "parts", "what to measure: `PART,…`")
	flag.Var(&o.databases, "databases", "what to move in copy and cutover: `NAME,…`")
	flag.Var(&o.tools, "tools", "what to move it with: `TOOL,…`")
	flag.IntVar(&o.scale, "scale", o.scale, "pgbench's `SCALE`; the mixed database grows with it and has 900 MB at 50")
	flag.IntVar(&o.runs, "runs", o.runs, "`NUMBER` of runs that the medians are taken from")
	flag.IntVar(&o.backlog, "backlog", o.backlog, "`NUMBER` of transactions that wait in part apply")
	flag.Var(&o.rates, "rates", "transactions a second in part lag: `TPS,…`")
	flag.IntVar(&o.seconds, "seconds", o.seconds, "`SECONDS` of load in part lag; a third of it in part cutover")
	flag.IntVar(&o.source, "source", o.source, "PostgreSQL `VERSION` of the source")
	flag.IntVar(&o.target, "target", o.target, "PostgreSQL `VERSION` of the target")
	flag.IntVar(&o.settings.CopyWorkers, "copy-workers", o.settings.CopyWorkers, "our engine's setting: `PARTS` copied at once")
	flag.Int64Var(&o.settings.PartBytes, "part-bytes", o.settings.PartBytes, "our engine's setting: `BYTES` of a part of a large table")
	flag.IntVar(&o.settings.IndexWorkers, "index-workers", o.settings.IndexWorkers, "our engine's setting: `INDEXES` built at once")
	flag.StringVar(&o.out, "out", o.out, "`FOLDER` for the raw figures and profiles")
	flag.BoolVar(&o.markdown, "markdown", false, "write the tables as Markdown too")
	flag.BoolVar(&o.profile, "profile", false, "write a CPU profile of our own work in each run of copy and apply")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
}

// run measures what o asks for and reports it, also when something failed on the way.
func run(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("making the folder for the figures: %w", err)
	}
	b, err := start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.describe(ctx); err != nil {
		return err
	}
	for _, part := range o.parts {
		if err = parts[part](b, ctx); err != nil {
			err = fmt.Errorf("measuring part %s: %w", part, err)
			break
		}
	}
	if err := b.report(); err != nil {
		return err
	}
	for _, f := range b.Figures {
		if f.Error != "" {
			err = errors.Join(err, fmt.Errorf("%s of %s with %s, run %d: %s", f.Part, f.Database, f.Tool, f.Run, f.Error))
		}
	}
	return err
}

// parts are the things that can be measured.
var parts = map[string]func(*bench, context.Context) error{
	"copy":    (*bench).measureCopies,
	"apply":   (*bench).measureApply,
	"lag":     (*bench).measureLag,
	"cutover": (*bench).measureCutovers,
}

func (o options) check() error {
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	for _, part := range o.parts {
		if parts[part] == nil {
			return fmt.Errorf("there is no part %q", part)
		}
	}
	for _, name := range o.databases {
		if databases[name].load == nil {
			return fmt.Errorf("there is no database %q", name)
		}
	}
	for _, name := range o.tools {
		if !slices.Contains(toolNames(), name) {
			return fmt.Errorf("there is no tool %q", name)
		}
	}
	for _, rate := range o.rates {
		if _, err := strconv.Atoi(rate); err != nil {
			return fmt.Errorf("rate %q is no number", rate)
		}
	}
	return nil
}

func (o options) file(name string) string { return filepath.Join(o.out, name) }
