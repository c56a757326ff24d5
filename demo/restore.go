package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// restore loads the user's own file. Statements that fail, for instance because they name a role
// that is not here, are shown, and the others count.
func restore(ctx context.Context, file, url string) error {
	address, err := pgx.ParseConfig(url)
	if err != nil {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	pgRestore, err := postgres.PgRestore(ctx)
	if err != nil {
		return err
	}
	input, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("reading the sample: %w", err)
	}
	defer input.Close()

	script := bufio.NewReaderSize(input, 1<<20)
	convert := func() error { return nil }
	if magic, _ := script.Peek(5); bytes.Equal(magic, []byte("PGDMP")) {
		command := exec.CommandContext(ctx, pgRestore, "--no-owner", "--no-privileges", "--file=-", file)
		command.Stderr = os.Stderr
		output, err := command.StdoutPipe()
		if err != nil {
			return fmt.Errorf("converting %s: %w", file, err)
		}
		if err := command.Start(); err != nil {
			return fmt.Errorf("converting %s: %w", file, err)
		}
		script = bufio.NewReaderSize(output, 1<<20)
		convert = command.Wait
	}

	psql := exec.CommandContext(ctx, filepath.Join(filepath.Dir(pgRestore), "psql"), "--no-psqlrc", "--quiet", "--output=/dev/null")
	// Not as an argument, where everybody on the machine can read it.
	psql.Env = append(os.Environ(), "PGHOST="+address.Host, fmt.Sprintf("PGPORT=%d", address.Port),
		"PGUSER="+address.User, "PGPASSWORD="+address.Password, "PGDATABASE="+address.Database)
	psql.Stderr = os.Stderr
	psql.Stdin = withoutTransactionTimeout(script)
	if err := errors.Join(psql.Run(), convert()); err != nil {
		return fmt.Errorf("loading %s: %w", file, err)
	}
	return nil
}

// withoutTransactionTimeout leaves out the setting that pg_dump 17 and later begin with and
// servers before 17 do not know.
func withoutTransactionTimeout(script *bufio.Reader) io.Reader {
	const headLines = 50
	var head bytes.Buffer
	for range headLines {
		line, err := script.ReadBytes('\n')
		if !bytes.Equal(bytes.TrimSpace(line), []byte("SET transaction_timeout = 0;")) {
			head.Write(line)
		}
		if err != nil {
			break
		}
	}
	return io.MultiReader(&head, script)
}
