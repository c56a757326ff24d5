package main

import (
	"context"
	_ "embed" // for the SQL
	"fmt"
	"os"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

var (
	//go:embed sql/mixed.sql
	mixedSQL string
	//go:embed sql/mixed_load.sql
	mixedLoadSQL string
	//go:embed sql/heartbeat.sql
	heartbeatSQL string
	//go:embed sql/size.sql
	sizeSQL string
)

// databases are those that are moved.
var databases = map[string]struct {
	load func(*bench, context.Context, postgres.Login) error
	// work gives the arguments with which pgbench does an application's work.
	work func(*bench) ([]string, error)
	// rate is how many transactions a second the application makes before the cutover.
	rate int
}{
	"pgbench": {(*bench).loadPgbench, (*bench).pgbenchWork, 800},
	"mixed":   {(*bench).loadMixed, (*bench).mixedWork, 300},
}

// dataset is one of them on the source.
type dataset struct {
	name  string
	login postgres.Login
	bytes int64
}

// database gives a loaded database on the source.
func (b *bench) database(ctx context.Context, name string) (*dataset, error) {
	if d := b.loaded[name]; d != nil {
		return d, nil
	}
	b.say("loading %s", name)
	login, err := b.source.CreateOwnerDatabase(ctx, name, true)
	if err != nil {
		return nil, err
	}
	if err := databases[name].load(b, ctx, login); err != nil {
		return nil, fmt.Errorf("loading database %s: %w", name, err)
	}
	if err := execute(ctx, login.URL(), heartbeatSQL); err != nil {
		return nil, fmt.Errorf("loading database %s: %w", name, err)
	}
	if err := execute(ctx, b.source.URL(name), "VACUUM (ANALYZE)"); err != nil {
		return nil, fmt.Errorf("loading database %s: %w", name, err)
	}
	d := &dataset{name: name, login: login}
	if d.bytes, err = query[int64](ctx, login.URL(), sizeSQL); err != nil {
		return nil, err
	}
	b.loaded[name] = d
	return d, nil
}

func (d *dataset) megabytes() float64 { return float64(d.bytes) / 1e6 }

func (b *bench) loadPgbench(ctx context.Context, l postgres.Login) error {
	return b.tool(ctx, "pgbench", "--initialize", "--quiet", "--scale="+strconv.Itoa(b.scale), l.URL())
}

func (b *bench) loadMixed(ctx context.Context, l postgres.Login) error {
	conn, err := pgx.Connect(ctx, l.URL())
	if err != nil {
		return fmt.Errorf("connecting to the database: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "SELECT set_config('mixed.scale', $1::text, false)", fmt.Sprint(float64(b.scale)/50)); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, mixedSQL, pgx.QueryExecModeSimpleProtocol)
	return err
}

func (b *bench) pgbenchWork() ([]string, error) { return []string{"--builtin=tpcb-like"}, nil }

func (b *bench) mixedWork() ([]string, error) {
	script := b.file("mixed_load.sql")
	if err := os.WriteFile(script, []byte(mixedLoadSQL), 0o600); err != nil {
		return nil, fmt.Errorf("writing the script of the load: %w", err)
	}
	return []string{"--file=" + script, "--define=rows=" + strconv.Itoa(2_000_000*b.scale/50)}, nil
}
