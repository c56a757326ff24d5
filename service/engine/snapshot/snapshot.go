// Package snapshot makes the initial copy: every table from one exported snapshot of the source, several at once, bytes
// from socket to socket.
package snapshot

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Keeper keeps a snapshot alive on a session of its own, so that it outlives the replication connection it came from.
type Keeper struct {
	LSN  pglogrepl.LSN // the snapshot shows exactly the source's transactions that commit before it
	Name string        // to import it by
	conn *pgx.Conn
}

const (
	beginSQL  = `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY`
	exportSQL = `SELECT pg_catalog.pg_export_snapshot()`
)

// Keep imports the snapshot on a new session and exports it again from there. Close ends it.
func Keep(ctx context.Context, source database.Dial, name string, lsn pglogrepl.LSN) (*Keeper, error) {
	conn, err := source(ctx)
	if err != nil {
		return nil, err
	}
	k := &Keeper{LSN: lsn, conn: conn}
	if err = Import(ctx, conn, name); err == nil {
		err = conn.QueryRow(ctx, exportSQL).Scan(&k.Name)
	}
	if err != nil {
		k.Close(ctx)
		return nil, fmt.Errorf("keeping the snapshot of the source: %w", err)
	}
	return k, nil
}

// KeepCurrent exports the snapshot of this moment from conn, which belongs to the keeper from then on, also after an error.
func KeepCurrent(ctx context.Context, conn *pgx.Conn, lsn pglogrepl.LSN) (*Keeper, error) {
	k := &Keeper{LSN: lsn, conn: conn}
	_, err := conn.Exec(ctx, beginSQL)
	if err == nil {
		err = conn.QueryRow(ctx, exportSQL).Scan(&k.Name)
	}
	if err != nil {
		k.Close(ctx)
		return nil, fmt.Errorf("keeping a snapshot: %w", err)
	}
	return k, nil
}

// Conn is the keeper's session, inside of the snapshot, for reading the catalog; for one goroutine at a time.
func (k *Keeper) Conn() *pgx.Conn { return k.conn }

// Close lets the snapshot go, and with it the source's horizon for VACUUM.
func (k *Keeper) Close(ctx context.Context) { _ = k.conn.Close(context.WithoutCancel(ctx)) }

// Dialer makes of dial one that opens sessions inside of the snapshot.
func (k *Keeper) Dialer(dial database.Dial) database.Dial {
	return func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		if err := Import(ctx, conn, k.Name); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, err
		}
		return conn, nil
	}
}

// Import begins a read-only transaction on conn that sees the snapshot.
func Import(ctx context.Context, conn *pgx.Conn, name string) error {
	if _, err := conn.Exec(ctx, beginSQL); err != nil {
		return fmt.Errorf("beginning a transaction for the snapshot: %w", err)
	}
	// The grammar takes no parameter here, so the name is checked to be what the source gives: hexadecimal digits and hyphens.
	if !isSnapshotName(name) {
		return fmt.Errorf("importing the snapshot: %q is no name of a snapshot", name)
	}
	if _, err := conn.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+name+"'"); err != nil {
		return fmt.Errorf("importing the snapshot: %w", err)
	}
	return nil
}

func isSnapshotName(name string) bool {
	for _, r := range name {
		if (r < '0' || r > '9') && (r < 'A' || r > 'F') && r != '-' {
			return false
		}
	}
	return name != ""
}

const (
	savepointSQL = `SAVEPOINT reading`
	unlockSQL    = `ROLLBACK TO SAVEPOINT reading; RELEASE SAVEPOINT reading`
)

// Unlocking calls read, and lets go of the tables that it has read on conn, a session inside of a snapshot. An ALTER TABLE of
// the application would else wait until the session ends, and everybody who wants to read the table would wait behind it. On a
// session outside of a transaction every statement lets go by itself.
func Unlocking(ctx context.Context, conn *pgx.Conn, read func() error) error {
	if conn.PgConn().TxStatus() == 'I' {
		return read()
	}
	if _, err := conn.Exec(ctx, savepointSQL); err != nil {
		return fmt.Errorf("beginning to read from the snapshot: %w", err)
	}
	if err := read(); err != nil {
		_, _ = conn.Exec(ctx, unlockSQL, pgx.QueryExecModeSimpleProtocol) // a broken session has no locks
		return err
	}
	if _, err := conn.Exec(ctx, unlockSQL, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("unlocking what was read from the snapshot: %w", err)
	}
	return nil
}
