package preflight

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// Options are what the checks need besides the two databases.
type Options struct {
	// MigrationID is whose own objects are no hindrance.
	MigrationID string
	// Source and Target open the connections.
	Source, Target Dialer
	// PgDumpVersion is the major version of pg_dump; 0 means that it cannot be run.
	PgDumpVersion int
	// CopyWorkers and IndexWorkers say how many connections the migration will need.
	CopyWorkers, IndexWorkers int
	// RefuseOffline makes a source that cannot replicate a critical finding.
	RefuseOffline bool
}

// Dialer opens connections to one of the databases.
type Dialer interface {
	// Connect opens an ordinary connection.
	Connect(ctx context.Context) (*pgx.Conn, error)
	// ConnectReplication opens a connection that knows the commands of logical replication.
	ConnectReplication(ctx context.Context) (*pgconn.PgConn, error)
}

const (
	oldestMajor    = 10
	connectTimeout = 20 * time.Second
	// sessionSettings are those that the statements of the checks rely on; a check changes nothing.
	// The server's limit comes first; ours is for a server that has gone silent.
	sessionSettings = `SET search_path = ''; SET statement_timeout = '30s'; SET lock_timeout = '10s'; SET default_transaction_read_only = on`
	statementLimit  = 40 * time.Second
)

// Check makes all checks on both databases at once. A check that does not pass is a finding;
// an error is only returned when ctx has ended.
func Check(ctx context.Context, o Options) (Report, error) {
	all, err := loadCatalog()
	if err != nil {
		return Report{}, err
	}
	source := &inspection{options: o, catalog: all, side: Source, dialer: o.Source}
	target := &inspection{options: o, catalog: all, side: Target, dialer: o.Target}
	defer source.close(ctx)
	defer target.close(ctx)

	var sides errgroup.Group
	sides.Go(func() error { return source.run(ctx) })
	sides.Go(func() error { return target.run(ctx) })
	if err := sides.Wait(); err != nil {
		return Report{}, err
	}

	findings := slices.Concat(source.findings, target.findings)
	findings = append(findings, comparePgDump(all, source.facts, o.PgDumpVersion)...)
	if source.facts != nil && target.facts != nil {
		findings = append(findings, compare(all, *source.facts, *target.facts)...)
		findings = append(findings, target.checkExtensionPrivileges(ctx, *source.facts)...)
		findings = append(findings, source.checkLargeObjects(ctx, *target.facts)...)
	}
	if err := ctx.Err(); err != nil {
		return Report{}, fmt.Errorf("checking both databases: %w", err)
	}
	slices.SortStableFunc(findings, func(a, b Finding) int { return strings.Compare(a.ID, b.ID) })
	report := Report{Findings: findings}
	if source.facts != nil && !o.RefuseOffline {
		report.Findings, report.Offline = goOffline(all, findings, source.facts.bytes)
	}
	return report, nil
}

// inspection is the check of one database.
type inspection struct {
	options  Options
	catalog  catalog
	side     Side
	dialer   Dialer
	conn     *pgx.Conn
	facts    *facts // nil when there is nothing to compare
	findings []Finding
}

func (i *inspection) close(ctx context.Context) {
	if i.conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = i.conn.Close(ctx)
}

// report adds a finding of one of the checks.
func (i *inspection) report(id string, r result) {
	i.findings = append(i.findings, i.catalog[id].finding(r))
}

// fail adds that one of the checks could not be made.
func (i *inspection) fail(id string, err error) {
	i.findings = append(i.findings, i.catalog[id].failed(reason(err)))
}

// run makes the checks that concern one database only. Its error is that of ctx.
func (i *inspection) run(ctx context.Context) error {
	err := i.inspect(ctx)
	if ctx.Err() != nil {
		return fmt.Errorf("checking the %s: %w", i.side, ctx.Err())
	}
	if err != nil {
		id := "S01"
		if i.side == Target {
			id = "T01"
		}
		i.report(id, result{values: map[string]string{"detail": connectReason(err)}})
	}
	return nil
}

// inspect gives the error of a connection that could not be made or was lost.
func (i *inspection) inspect(ctx context.Context) error {
	major, err := i.connect(ctx)
	if err != nil {
		return err
	}
	if i.side == Source && major < oldestMajor {
		version := i.conn.PgConn().ParameterStatus("server_version")
		i.report("S02", result{values: map[string]string{"version": version}})
		return nil
	}
	own, err := i.collect(ctx, major)
	if err != nil {
		return err
	}
	for _, c := range i.catalog.of(i.side) {
		if c.since > major || c.id == "T04" && own {
			continue
		}
		if err := i.make(ctx, c); err != nil {
			return err
		}
	}
	if i.side == Source {
		i.checkSearchPath(ctx)
		i.checkReplication(ctx)
		i.checkSnapshot(ctx)
	}
	return nil
}

// connect opens the session of the checks and gives the server's major version.
func (i *inspection) connect(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	var err error
	if i.conn, err = i.dialer.Connect(ctx); err != nil {
		return 0, err
	}
	if _, err := i.conn.Exec(ctx, sessionSettings, pgx.QueryExecModeSimpleProtocol); err != nil {
		return 0, err
	}
	var version string
	if err := i.conn.QueryRow(ctx, "SHOW server_version_num", pgx.QueryExecModeExec).Scan(&version); err != nil {
		return 0, err
	}
	number, err := strconv.Atoi(version)
	if err != nil {
		return 0, fmt.Errorf("reading the server's version: %w", err)
	}
	return number / 10000, nil
}

// make makes a check that is SQL. The error is that of a lost connection.
func (i *inspection) make(ctx context.Context, c check) error {
	var (
		count  int64
		detail *string
		names  []string
	)
	err := i.queryRow(ctx, c.sql, []any{&count, &detail, &names})
	switch {
	case err != nil && i.conn.IsClosed():
		return err
	case err != nil:
		i.fail(c.id, err)
	case count > 0:
		values := map[string]string{}
		if detail != nil {
			values["detail"] = *detail
		}
		i.report(c.id, result{count: count, names: names, values: values})
	}
	return nil
}

// queryRow runs a statement that gives one row.
func (i *inspection) queryRow(ctx context.Context, sql string, into []any) error {
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	connections := i.options.CopyWorkers + 5 // replication, two keepers of snapshots, heartbeat, control
	if i.side == Target {
		connections = i.options.CopyWorkers + i.options.IndexWorkers + 3 // apply, reading ahead, heartbeat
	}
	return i.conn.QueryRow(ctx, sql, pgx.QueryExecModeExec,
		pgx.NamedArgs{"migration": i.options.MigrationID, "connections": connections, "target": i.side == Target}).Scan(into...)
}

// reason is why a statement failed, in the server's words if it has any.
func reason(err error) string {
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		return refused.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	default:
		return connectReason(err)
	}
}
