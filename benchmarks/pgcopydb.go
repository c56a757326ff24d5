package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

func (b *bench) copyByPgcopydb(ctx context.Context, m *meter, from *dataset, to postgres.Login) error {
	folder, err := os.MkdirTemp("", "cf-pg-migrate-pgcopydb-")
	if err != nil {
		return fmt.Errorf("making a folder for pgcopydb: %w", err)
	}
	defer os.RemoveAll(folder)
	return m.step("clone", func() error {
		return b.tool(ctx, b.pgcopydb, "clone", "--source", from.login.URL(), "--target", to.URL(), "--dir", folder,
			"--table-jobs", "2", "--index-jobs", "2", "--no-owner", "--no-acl", "--fail-fast", "--skip-extensions")
	})
}
