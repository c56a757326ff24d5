package main

import (
	"context"
	_ "embed" // for the SQL
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// subscription is PostgreSQL's own logical replication, which takes a superuser on both sides.
type subscription struct {
	bench  *bench
	from   *dataset
	to     postgres.Login
	folder string // for the schema's dump
}

func newSubscription(b *bench, from *dataset, to postgres.Login) follower {
	return &subscription{bench: b, from: from, to: to}
}

func (s *subscription) source() string { return s.bench.source.URL(s.from.name) }
func (s *subscription) target() string { return s.bench.target.URL(s.to.Database) }

// name is that of the publication, the subscription and its slot.
func (s *subscription) name() string { return "bench_" + s.to.Database }

func (b *bench) copyBySubscription(ctx context.Context, m *meter, from *dataset, to postgres.Login) (err error) {
	s := &subscription{bench: b, from: from, to: to}
	defer func() { err = errors.Join(err, s.remove(context.WithoutCancel(ctx))) }()
	return s.fill(ctx, m)
}

// fill makes the whole copy.
func (s *subscription) fill(ctx context.Context, m *meter) error {
	for _, part := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"schema", s.createTables},
		{"copy", s.subscribe},
		{"indexes", s.createIndexes},
		{"sequences", s.setSequences},
		{"analyze", func(ctx context.Context) error { return s.bench.analyze(ctx, s.to) }},
	} {
		if err := m.step(part.name, func() error { return part.do(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (s *subscription) dump() string { return filepath.Join(s.folder, "schema") }

// createTables creates all but what waits for the rows. The primary keys do not wait: without them the changes that arrive
// before the end of the copy would each read a whole table.
func (s *subscription) createTables(ctx context.Context) (err error) {
	if s.folder, err = os.MkdirTemp("", "cf-pg-migrate-subscription-"); err != nil {
		return fmt.Errorf("making a folder for the schema: %w", err)
	}
	err = s.bench.tool(ctx, "pg_dump", "--format=custom", "--schema-only", "--no-owner", "--no-acl", "--no-publications",
		"--file="+s.dump(), "--dbname="+s.from.login.URL())
	if err != nil {
		return err
	}
	if err := s.restore(ctx, "--section=pre-data"); err != nil {
		return err
	}
	c := s.bench.command(ctx, "pg_restore", "--list", "--section=post-data", s.dump())
	c.Stdout = nil
	contents, err := c.Output()
	if err != nil {
		return fmt.Errorf("listing the schema: %w", err)
	}
	var keys, others strings.Builder
	for line := range strings.Lines(string(contents)) {
		if strings.Contains(line, " CONSTRAINT ") && !strings.Contains(line, " FK CONSTRAINT ") {
			keys.WriteString(line)
		} else {
			others.WriteString(line)
		}
	}
	if err := os.WriteFile(s.dump()+".keys", []byte(keys.String()), 0o600); err != nil {
		return fmt.Errorf("writing the list of keys: %w", err)
	}
	if err := os.WriteFile(s.dump()+".others", []byte(others.String()), 0o600); err != nil {
		return fmt.Errorf("writing the list of indexes: %w", err)
	}
	return s.restore(ctx, "--use-list="+s.dump()+".keys")
}

func (s *subscription) createIndexes(ctx context.Context) error {
	return s.restore(ctx, "--jobs=2", "--use-list="+s.dump()+".others")
}

func (s *subscription) restore(ctx context.Context, which ...string) error {
	return s.bench.tool(ctx, "pg_restore", append(which, "--no-owner", "--no-acl", "--exit-on-error", "--dbname="+s.to.URL(), s.dump())...)
}

// subscribe waits until all tables are copied.
func (s *subscription) subscribe(ctx context.Context) error {
	if err := execute(ctx, s.source(), "CREATE PUBLICATION "+s.name()+" FOR ALL TABLES"); err != nil {
		return err
	}
	if err := execute(ctx, s.target(), fmt.Sprintf("CREATE SUBSCRIPTION %[1]s CONNECTION '%[2]s' PUBLICATION %[1]s", s.name(), s.source())); err != nil {
		return err
	}
	conn, err := pgx.Connect(ctx, s.target())
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return await(ctx, func() (ready bool, err error) {
		const sql = `SELECT bool_and(srsubstate = 'r') FROM pg_catalog.pg_subscription_rel`
		return ready, conn.QueryRow(ctx, sql).Scan(&ready)
	})
}

// await asks until the answer is yes.
func await(ctx context.Context, ask func() (bool, error)) error {
	for {
		yes, err := ask()
		if yes || err != nil {
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

//go:embed sql/setval.sql
var setvalSQL string

func (s *subscription) setSequences(ctx context.Context) error {
	statements, err := column[string](ctx, s.source(), setvalSQL)
	if err != nil || len(statements) == 0 {
		return err
	}
	return execute(ctx, s.target(), strings.Join(statements, ";\n"))
}

func (s *subscription) start(ctx context.Context) error {
	return s.fill(ctx, &meter{bench: s.bench})
}

func (s *subscription) ready(context.Context) error { return nil }

func (s *subscription) pause(ctx context.Context) error {
	if err := execute(ctx, s.target(), "ALTER SUBSCRIPTION "+s.name()+" DISABLE"); err != nil {
		return err
	}
	return await(ctx, func() (bool, error) {
		return query[bool](ctx, s.source(), "SELECT NOT active FROM pg_catalog.pg_replication_slots WHERE slot_name = '"+s.name()+"'")
	})
}

func (s *subscription) resume(ctx context.Context) error {
	return execute(ctx, s.target(), "ALTER SUBSCRIPTION "+s.name()+" ENABLE")
}

func (s *subscription) cutOver(ctx context.Context, m *meter) error {
	h, err := s.bench.newHeart(ctx, s.from, s.to)
	if err != nil {
		return err
	}
	defer h.close(ctx)
	for _, part := range []struct {
		name string
		do   func() error
	}{
		{"drain", func() error { return h.arrive(ctx) }},
		{"sequences", func() error { return s.setSequences(ctx) }},
		{"disable", func() error { return s.pause(ctx) }},
	} {
		if err := m.step(part.name, part.do); err != nil {
			return err
		}
	}
	m.Values = map[string]float64{"without verification": m.Seconds}
	return m.step("verification", func() error { return checkEqual(ctx, s.source(), s.target(), rows) })
}

func (s *subscription) remove(ctx context.Context) error {
	defer os.RemoveAll(s.folder)
	subscribed, err := query[bool](ctx, s.target(), "SELECT EXISTS (SELECT FROM pg_catalog.pg_subscription WHERE subname = '"+s.name()+"')")
	if err == nil && subscribed {
		err = execute(ctx, s.target(), "DROP SUBSCRIPTION "+s.name())
	}
	return errors.Join(err, execute(ctx, s.source(), "DROP PUBLICATION IF EXISTS "+s.name()))
}
