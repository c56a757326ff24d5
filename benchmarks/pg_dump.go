package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

func (b *bench) copyByPipe(ctx context.Context, m *meter, from *dataset, to postgres.Login) error {
	err := m.step("dump and restore", func() error {
		reader, writer, err := os.Pipe()
		if err != nil {
			return fmt.Errorf("making a pipe: %w", err)
		}
		var words tail
		dump := b.command(ctx, "pg_dump", "--format=custom", "--compress=0", "--no-owner", "--no-acl", "--dbname="+from.login.URL())
		dump.Stdout, dump.Stderr = writer, io.MultiWriter(b.log, &words)
		restore := b.command(ctx, "pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "--dbname="+to.URL())
		restore.Stdin = reader
		if err := dump.Start(); err != nil {
			return fmt.Errorf("starting pg_dump: %w", err)
		}
		_ = writer.Close() // so that pg_restore sees the end when pg_dump ends
		err = b.finish(restore)
		_ = reader.Close()
		if dumpErr := dump.Wait(); dumpErr != nil {
			err = errors.Join(err, fmt.Errorf("running pg_dump: %w: %s", dumpErr, words.text))
		}
		return err
	})
	if err != nil {
		return err
	}
	return m.step("analyze", func() error { return b.analyze(ctx, to) })
}

func (b *bench) copyByFolder(ctx context.Context, m *meter, from *dataset, to postgres.Login) error {
	parent, err := os.MkdirTemp("", "cf-pg-migrate-dump-")
	if err != nil {
		return fmt.Errorf("making a folder for the dump: %w", err)
	}
	defer os.RemoveAll(parent)
	folder := filepath.Join(parent, "dump")
	err = m.step("dump", func() error {
		return b.tool(ctx, "pg_dump", "--format=directory", "--compress=0", "--jobs=2", "--no-owner", "--no-acl", "--file="+folder, "--dbname="+from.login.URL())
	})
	if err != nil {
		return err
	}
	err = m.step("restore", func() error {
		return b.tool(ctx, "pg_restore", "--jobs=2", "--no-owner", "--no-acl", "--exit-on-error", "--dbname="+to.URL(), folder)
	})
	if err != nil {
		return err
	}
	return m.step("analyze", func() error { return b.analyze(ctx, to) })
}

// analyze gathers statistics, as our engine does at the end of a copy.
func (b *bench) analyze(ctx context.Context, to postgres.Login) error {
	return b.tool(ctx, "vacuumdb", "--analyze-only", "--jobs=2", "--dbname="+to.URL())
}
