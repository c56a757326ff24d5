package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// bench is one run of the command: two clusters, the tools, and the figures so far.
type bench struct {
	options        `json:"-"`
	source, target *postgres.Cluster
	bin            string // of the target's version: pg_dump, pg_restore, vacuumdb, pgbench
	pgcopydb       string
	log            *os.File
	loaded         map[string]*dataset
	targets        int // that were made so far

	Machine []fact   `json:"machine"`
	Figures []figure `json:"figures"`
}

// clusterSettings are those of a server that is made for such work. fsync and synchronous_commit stay on.
var clusterSettings = map[string]string{
	"shared_buffers":                  "1GB",
	"min_wal_size":                    "4GB",
	"max_wal_size":                    "4GB",
	"max_worker_processes":            "40",
	"max_logical_replication_workers": "16",
	"max_connections":                 "200",
	// Without it a subscription waits 5 s between the tables that it copies.
	"wal_retrieve_retry_interval": "100ms",
}

func start(ctx context.Context, o options) (_ *bench, err error) {
	b := &bench{options: o, loaded: map[string]*dataset{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.stop())
		}
	}()
	if b.log, err = os.Create(o.file("log.txt")); err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if b.bin, err = postgres.BinDir(ctx, o.target); err != nil {
		return nil, err
	}
	if slices.Contains(o.tools, "pgcopydb") {
		if b.pgcopydb, err = postgres.Pgcopydb(ctx); err != nil {
			return nil, err
		}
	}
	if b.settings.PgDump, err = postgres.PgDump(ctx); err != nil {
		return nil, err
	}
	if b.settings.PgRestore, err = postgres.PgRestore(ctx); err != nil {
		return nil, err
	}
	if b.source, err = postgres.Start(ctx, postgres.Options{Major: o.source, Durable: true, Settings: clusterSettings}); err != nil {
		return nil, err
	}
	if b.target, err = postgres.Start(ctx, postgres.Options{Major: o.target, Durable: true, Settings: clusterSettings}); err != nil {
		return nil, err
	}
	return b, b.fillWAL(ctx)
}

// fillWAL makes both servers create the files of their write-ahead log, which they use again and again from then on. Without
// it the first tools of a run would wait for that in place of the others.
func (b *bench) fillWAL(ctx context.Context) error {
	const piece = "SELECT pg_catalog.pg_logical_emit_message(false, 'benchmarks', pg_catalog.repeat('x', 64 << 20))"
	for _, cluster := range []*postgres.Cluster{b.source, b.target} {
		for range max(64*b.scale/50, 1) {
			if err := cluster.Exec(ctx, "postgres", piece); err != nil {
				return err
			}
		}
	}
	return b.settle(ctx)
}

func (b *bench) stop() error {
	var err error
	for _, cluster := range []*postgres.Cluster{b.source, b.target} {
		if cluster != nil {
			err = errors.Join(err, cluster.Stop())
		}
	}
	if b.log != nil {
		err = errors.Join(err, b.log.Close())
	}
	return err
}

func (b *bench) say(format string, values ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", values...)
}

// newTarget makes an empty database on the target.
func (b *bench) newTarget(ctx context.Context) (postgres.Login, error) {
	b.targets++
	return b.target.CreateOwnerDatabase(ctx, fmt.Sprintf("target_%d", b.targets), false)
}

// settle brings both servers to the same state before each measurement.
func (b *bench) settle(ctx context.Context) error {
	for _, cluster := range []*postgres.Cluster{b.source, b.target} {
		if err := cluster.Exec(ctx, "postgres", "CHECKPOINT"); err != nil {
			return err
		}
	}
	return nil
}

// command is a program of the peers', which finds those of the target's version first. What it says goes to the log.
func (b *bench) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	if !strings.Contains(program, "/") {
		program = filepath.Join(b.bin, program)
	}
	c := exec.CommandContext(ctx, program, args...)
	c.Env = append(os.Environ(), "PATH="+b.bin+":/usr/bin:/bin", "LC_ALL=C")
	c.Stdout, c.Stderr = b.log, b.log
	return c
}

// tool runs such a program; its error holds the last words that it said.
func (b *bench) tool(ctx context.Context, program string, args ...string) error {
	return b.finish(b.command(ctx, program, args...))
}

func (b *bench) finish(c *exec.Cmd) error {
	var words tail
	c.Stderr = io.MultiWriter(b.log, &words)
	if err := c.Run(); err != nil {
		return fmt.Errorf("running %s: %w: %s", filepath.Base(c.Path), err, words.text)
	}
	return nil
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if surplus := len(t.text) - 1000; surplus > 0 {
		t.text = t.text[surplus:]
	}
	return len(p), nil
}

// execute runs SQL, several statements if need be.
func execute(ctx context.Context, url, sql string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, sql, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("running %.100s: %w", sql, err)
	}
	return nil
}

// query reads one value.
func query[T any](ctx context.Context, url, sql string) (value T, err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return value, fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if err := conn.QueryRow(ctx, sql).Scan(&value); err != nil {
		return value, fmt.Errorf("running %.100s: %w", sql, err)
	}
	return value, nil
}
