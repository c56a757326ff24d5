// Package capture prepares the source for logical decoding and puts everything back: our schema with its records, replica
// identities, the publication and the slot. Every step is idempotent, so that a broken-off one is simply done again.
package capture

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
)

// Source is one migration's part of the source database. It is not safe for concurrent use: it works on one session.
type Source struct {
	ID    string // of the migration
	Epoch int64  // of the worker
	Conn  *pgx.Conn
}

// Slot is the name of the migration's replication slot, and that of its publication too.
func Slot(id string) string { return "pgmig_" + id }

// Schema is the name of the schema that holds our records on the source.
func Schema(id string) string { return "_pgmig_" + id }

// BeatTable is the name of the table, in Schema, whose one row is the heartbeat and the marker of the cutover.
const BeatTable = "beat"

func (s Source) slot() string   { return pgx.Identifier{Slot(s.ID)}.Sanitize() }
func (s Source) schema() string { return pgx.Identifier{Schema(s.ID)}.Sanitize() }

// in puts the migration's schema into a statement that writes it as {schema}. Identifiers cannot be parameters.
func (s Source) in(sql string) string { return strings.ReplaceAll(sql, "{schema}", s.schema()) }

const (
	createSchemaSQL = `CREATE SCHEMA IF NOT EXISTS {schema}`

	// What the source was like before us, for Restore.
	createRecordsSQL = `
CREATE TABLE IF NOT EXISTS {schema}.identities (
    relation oid PRIMARY KEY,
    identity text NOT NULL,
    index_name text
);
CREATE TABLE IF NOT EXISTS {schema}.settings (
    name text PRIMARY KEY,
    value text
)`

	createBeatSQL = `
CREATE TABLE IF NOT EXISTS {schema}.beat (
    id int PRIMARY KEY,
    nonce bigint NOT NULL,
    at timestamptz NOT NULL
);
INSERT INTO {schema}.beat VALUES (1, 0, pg_catalog.now()) ON CONFLICT DO NOTHING`

	recordIdentitySQL = `
INSERT INTO {schema}.identities (relation, identity, index_name)
SELECT c.oid, c.relreplident::text, x.relname
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_index AS i ON i.indrelid = c.oid AND i.indisreplident
LEFT JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid
WHERE c.oid = $1
ON CONFLICT DO NOTHING`
)

// Prepare makes our schema, gives every table without a usable identity one, and publishes all tables but the unlogged
// ones. The identity comes first: an UPDATE of a published table without one would fail on the source.
func (s Source) Prepare(ctx context.Context, tables []catalog.Table) error {
	if err := s.create(ctx, createSchemaSQL, createWorkerSQL, createRecordsSQL, createBeatSQL); err != nil {
		return err
	}
	if err := s.takeOver(ctx); err != nil {
		return err
	}
	for _, t := range tables {
		if !t.Unlogged {
			if err := s.setIdentity(ctx, t); err != nil {
				return err
			}
		}
	}
	return s.publish(ctx, tables)
}

// PrepareRecords makes our schema with its records only, which are all that a migration without logical decoding needs.
func (s Source) PrepareRecords(ctx context.Context) error {
	if err := s.create(ctx, createSchemaSQL, createWorkerSQL, createRecordsSQL); err != nil {
		return err
	}
	return s.takeOver(ctx)
}

func (s Source) create(ctx context.Context, statements ...string) error {
	for _, sql := range statements {
		if _, err := s.Conn.Exec(ctx, s.in(sql), pgx.QueryExecModeSimpleProtocol); err != nil {
			return fmt.Errorf("creating our schema %s on the source: %w", Schema(s.ID), err)
		}
	}
	return nil
}

// identified says whether the stream tells which row of the table is updated or deleted.
func identified(t catalog.Table) bool {
	return t.Identity == catalog.IdentityFull ||
		t.Identity == catalog.IdentityIndex && t.KeyIdentity ||
		t.Identity == catalog.IdentityDefault && t.KeyPrimary
}

func (s Source) setIdentity(ctx context.Context, t catalog.Table) error {
	var identity string
	switch {
	case identified(t):
		return nil
	case t.KeyIndex != "":
		identity = "USING INDEX " + pgx.Identifier{t.KeyIndex}.Sanitize()
	default:
		identity = "FULL"
	}
	err := s.withLock(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.in(recordIdentitySQL), t.OID); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "ALTER TABLE ONLY "+t.SQLName()+" REPLICA IDENTITY "+identity)
		return err
	})
	if err != nil {
		return fmt.Errorf("setting the replica identity of table %s on the source: %w", t, err)
	}
	return nil
}

// The lock that ALTER TABLE waits for keeps all later readers of the table waiting too, so the wait is short and repeated.
const (
	lockWait  = "2s"
	lockPause = 3 * time.Second
	lockTries = 40
)

// withLock runs change in a transaction that holds the source and gives up waiting for a lock after lockWait, and repeats it
// with pauses.
func (s Source) withLock(ctx context.Context, change func(pgx.Tx) error) error {
	for try := 1; ; try++ {
		err := pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
				return err
			}
			if err := s.Hold(ctx, tx); err != nil {
				return err
			}
			return change(tx)
		})
		if !hasCode(err, "55P03") || try == lockTries {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lockPause):
		}
	}
}

// tablesPerStatement keeps each statement within the source's lock table.
const tablesPerStatement = 500

const publishedSQL = `
SELECT pr.prrelid
FROM pg_catalog.pg_publication_rel AS pr
JOIN pg_catalog.pg_publication AS p ON p.oid = pr.prpubid
WHERE p.pubname = $1`

// TellsTruncates is the first version that publishes TRUNCATE.
const TellsTruncates = 11

// published gives the OIDs of the tables that are in the publication.
func (s Source) published(ctx context.Context) (map[uint32]bool, error) {
	rows, err := s.Conn.Query(ctx, publishedSQL, Slot(s.ID))
	if err != nil {
		return nil, fmt.Errorf("reading publication %s: %w", Slot(s.ID), err)
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return nil, fmt.Errorf("reading publication %s: %w", Slot(s.ID), err)
	}
	published := make(map[uint32]bool, len(oids))
	for _, oid := range oids {
		published[oid] = true
	}
	return published, nil
}

const suspectSQL = `
SELECT EXISTS (
    SELECT
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r'
      AND c.relpersistence = 'p'
      AND n.nspname !~ '^(pg_|_pgmig)'
      AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_catalog.pg_depend AS d
          WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
      AND (c.relreplident = 'n'
          OR (c.relreplident IN ('d', 'i') AND NOT EXISTS (
              SELECT
              FROM pg_catalog.pg_index AS i
              WHERE i.indrelid = c.oid AND i.indisvalid
                AND CASE c.relreplident WHEN 'd' THEN i.indisprimary ELSE i.indisreplident END))
          OR NOT EXISTS (
              SELECT
              FROM pg_catalog.pg_publication_rel AS pr
              JOIN pg_catalog.pg_publication AS p ON p.oid = pr.prpubid
              WHERE pr.prrelid = c.oid AND p.pubname = $1)))`

// Suspect says, at a small price, whether Lacking may find something.
func (s Source) Suspect(ctx context.Context) (suspect bool, err error) {
	if err := s.Conn.QueryRow(ctx, suspectSQL, Slot(s.ID)).Scan(&suspect); err != nil {
		return false, fmt.Errorf("looking for tables that the stream does not carry: %w", err)
	}
	return suspect, nil
}

// Lacking says what the stream lacks of tables, which are as the session sees them: those that are not published, whose changes
// do not come, and those without a usable identity, whose updates and deletes the source refuses.
func (s Source) Lacking(ctx context.Context, tables []catalog.Table) (unpublished, unidentified []catalog.Table, err error) {
	published, err := s.published(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range tables {
		switch {
		case t.Unlogged:
		case !published[t.OID]:
			unpublished = append(unpublished, t)
		case !identified(t):
			unidentified = append(unidentified, t)
		}
	}
	return unpublished, unidentified, nil
}

func (s Source) publish(ctx context.Context, tables []catalog.Table) error {
	var exists bool
	err := s.Conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE pubname = $1)", Slot(s.ID)).Scan(&exists)
	if err != nil {
		return fmt.Errorf("looking for publication %s: %w", Slot(s.ID), err)
	}
	if !exists {
		publish := "insert, update, delete, truncate"
		if catalog.Major(s.Conn) < TellsTruncates {
			publish = "insert, update, delete"
		}
		sql := "CREATE PUBLICATION " + s.slot() + " FOR TABLE " + s.schema() + "." + BeatTable + " WITH (publish = '" + publish + "')"
		if err := s.execute(ctx, sql); err != nil {
			return fmt.Errorf("creating publication %s: %w", Slot(s.ID), err)
		}
	}
	published, err := s.published(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, t := range tables {
		if !t.Unlogged && !published[t.OID] {
			names = append(names, "ONLY "+t.SQLName())
		}
	}
	for start := 0; start < len(names); start += tablesPerStatement {
		batch := names[start:min(start+tablesPerStatement, len(names))]
		if err := s.execute(ctx, "ALTER PUBLICATION "+s.slot()+" ADD TABLE "+strings.Join(batch, ", ")); err != nil {
			return fmt.Errorf("adding tables to publication %s: %w", Slot(s.ID), err)
		}
	}
	return nil
}

// execute runs a statement as withLock does.
func (s Source) execute(ctx context.Context, sql string) error {
	return s.withLock(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, sql)
		return err
	})
}

const beatSQL = `
UPDATE {schema}.beat
SET nonce = nonce + 1, at = pg_catalog.clock_timestamp()
WHERE id = 1 AND EXISTS (SELECT FROM {schema}.worker WHERE epoch = $1)
RETURNING nonce`

// Beat writes the next heartbeat and gives its number. Its commit is the marker that a later one of the stream is compared with.
// Error: ErrTakenOver.
func (s Source) Beat(ctx context.Context) (nonce int64, err error) {
	err = s.Conn.QueryRow(ctx, s.in(beatSQL), s.Epoch).Scan(&nonce)
	if errors.Is(err, pgx.ErrNoRows) {
		return 0, ErrTakenOver
	}
	if err != nil {
		return 0, fmt.Errorf("writing the heartbeat on the source: %w", err)
	}
	return nonce, nil
}

// Identity is the replica identity that a table had before Prepare.
type Identity struct {
	Schema, Table string
	Before        catalog.Identity
	Index         string // of IdentityIndex
}

const identitiesSQL = `
SELECT n.nspname, c.relname, r.identity, coalesce(r.index_name, '')
FROM {schema}.identities AS r
JOIN pg_catalog.pg_class AS c ON c.oid = r.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY n.nspname, c.relname`

// Identities gives what Prepare changed.
func (s Source) Identities(ctx context.Context) ([]Identity, error) {
	rows, err := s.Conn.Query(ctx, s.in(identitiesSQL))
	if err != nil {
		return nil, fmt.Errorf("reading the recorded replica identities: %w", err)
	}
	identities, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Identity])
	if err != nil {
		return nil, fmt.Errorf("reading the recorded replica identities: %w", err)
	}
	return identities, nil
}

// Statement is the SQL that gives the table its identity of before.
func (i Identity) Statement() string {
	table := pgx.Identifier{i.Schema, i.Table}.Sanitize()
	switch i.Before {
	case catalog.IdentityNothing:
		return "ALTER TABLE ONLY " + table + " REPLICA IDENTITY NOTHING"
	case catalog.IdentityFull:
		return "ALTER TABLE ONLY " + table + " REPLICA IDENTITY FULL"
	case catalog.IdentityIndex:
		if i.Index == "" { // which was gone already
			return "ALTER TABLE ONLY " + table + " REPLICA IDENTITY DEFAULT"
		}
		return "ALTER TABLE ONLY " + table + " REPLICA IDENTITY USING INDEX " + pgx.Identifier{i.Index}.Sanitize()
	default:
		return "ALTER TABLE ONLY " + table + " REPLICA IDENTITY DEFAULT"
	}
}

// Exists says whether our schema is on the source.
func (s Source) Exists(ctx context.Context) (exists bool, err error) {
	err = s.Conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)", Schema(s.ID)).Scan(&exists)
	if err != nil {
		return false, fmt.Errorf("looking for our schema %s on the source: %w", Schema(s.ID), err)
	}
	return exists, nil
}

// Unpublish drops the publication and gives the tables their replica identities back, in that order.
func (s Source) Unpublish(ctx context.Context) error {
	exists, err := s.recordsExist(ctx)
	if err != nil {
		return err
	}
	drop := s.execute
	if !exists { // nobody can hold what is not there
		drop = func(ctx context.Context, sql string) error {
			_, err := s.Conn.Exec(ctx, sql)
			return err
		}
	}
	if err := drop(ctx, "DROP PUBLICATION IF EXISTS "+s.slot()); err != nil {
		return fmt.Errorf("dropping publication %s: %w", Slot(s.ID), err)
	}
	if !exists {
		return nil
	}
	identities, err := s.Identities(ctx)
	if err != nil {
		return err
	}
	for _, i := range identities {
		err := s.withLock(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, i.Statement())
			return err
		})
		if hasCode(err, "42704") { // undefined_object: the index was dropped or renamed since then
			i.Index = ""
			err = s.execute(ctx, i.Statement())
		}
		if err != nil {
			return fmt.Errorf("restoring the replica identity of table %s.%s: %w", i.Schema, i.Table, err)
		}
	}
	return nil
}

func (s Source) recordsExist(ctx context.Context) (exists bool, err error) {
	err = s.Conn.QueryRow(ctx, "SELECT pg_catalog.to_regclass($1) IS NOT NULL", s.schema()+".identities").Scan(&exists)
	if err != nil {
		return false, fmt.Errorf("looking for our records on the source: %w", err)
	}
	return exists, nil
}

// DropSchema drops our schema with all that is in it.
func (s Source) DropSchema(ctx context.Context) error {
	exists, err := s.Exists(ctx)
	if err != nil || !exists {
		return err
	}
	err = s.withLock(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DROP SCHEMA IF EXISTS "+s.schema()+" CASCADE")
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping our schema %s on the source: %w", Schema(s.ID), err)
	}
	return nil
}

func hasCode(err error, code string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == code
}
