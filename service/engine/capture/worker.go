package capture

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrTakenOver says that a worker with a higher epoch works on this migration now.
var ErrTakenOver = errors.New("another worker has taken over this migration")

const (
	// One row, which says whose the source is. Every transaction that changes something there holds it.
	createWorkerSQL = `
CREATE TABLE IF NOT EXISTS {schema}.worker (
    id int PRIMARY KEY,
    epoch bigint NOT NULL,
    ledger boolean NOT NULL DEFAULT false -- the target has the migration's ledger, or had it
);
CREATE OR REPLACE FUNCTION {schema}.hold(mine bigint) RETURNS void
LANGUAGE plpgsql
AS $hold$
BEGIN
    PERFORM 1 FROM {schema}.worker WHERE epoch = mine FOR SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'another worker has taken over this migration' USING ERRCODE = 'PGM01';
    END IF;
END
$hold$`

	takeOverSQL = `
INSERT INTO {schema}.worker AS w (id, epoch)
VALUES (1, $1)
ON CONFLICT (id) DO UPDATE SET epoch = EXCLUDED.epoch
WHERE w.epoch <= EXCLUDED.epoch
RETURNING w.epoch`

	takenOver = "PGM01"
)

// TakeOver raises the source's epoch to this worker's, so that no earlier worker can change the source any more. Without our
// schema there is nothing to take over. Errors: ErrTakenOver; the lock of a session of an earlier worker is waited for a short
// time only.
func (s Source) TakeOver(ctx context.Context) error {
	exists, err := s.Exists(ctx)
	if err != nil || !exists {
		return err
	}
	var ready bool
	if err := s.Conn.QueryRow(ctx, "SELECT pg_catalog.to_regprocedure($1) IS NOT NULL", s.schema()+".hold(bigint)").Scan(&ready); err != nil {
		return fmt.Errorf("looking for the worker's row on the source: %w", err)
	}
	if !ready { // an earlier version has not made it; and two workers at once must not both replace it
		if err := s.create(ctx, createWorkerSQL); err != nil {
			return err
		}
	}
	return s.takeOver(ctx)
}

func (s Source) takeOver(ctx context.Context) error {
	var epoch int64
	err := pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL lock_timeout = '"+lockWait+"'"); err != nil {
			return err
		}
		return tx.QueryRow(ctx, s.in(takeOverSQL), s.Epoch).Scan(&epoch)
	})
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrTakenOver
	}
	if err != nil {
		return fmt.Errorf("taking over the source: %w", err)
	}
	return nil
}

// RecordLedger records that the target has the migration's ledger. From then on the migration starts nowhere without it.
func (s Source) RecordLedger(ctx context.Context) error {
	exists, err := s.Exists(ctx)
	if err != nil || !exists { // another source, as its check will say
		return err
	}
	err = pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
		if err := s.Hold(ctx, tx); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, s.in("UPDATE {schema}.worker SET ledger = true WHERE NOT ledger"))
		return err
	})
	if err != nil {
		return fmt.Errorf("recording on the source that the target has a ledger: %w", err)
	}
	return nil
}

// LedgerRecorded says whether the target must have the migration's ledger.
func (s Source) LedgerRecorded(ctx context.Context) (recorded bool, err error) {
	err = s.Conn.QueryRow(ctx, s.in("SELECT ledger FROM {schema}.worker")).Scan(&recorded)
	if hasCode(err, "42P01") || errors.Is(err, pgx.ErrNoRows) { // undefined_table, also where the schema is not there
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking on the source whether the target has a ledger: %w", err)
	}
	return recorded, nil
}

// DB is what Hold needs of a session in a transaction.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Hold holds the source against a worker that takes over, until the transaction ends. Error: ErrTakenOver, also when our schema
// is gone: whoever removed it had taken over.
func (s Source) Hold(ctx context.Context, tx DB) error {
	_, err := tx.Exec(ctx, s.HoldSQL(), pgx.QueryExecModeSimpleProtocol)
	return s.Held(err)
}

// stillOurs is Hold for what is not done in a transaction. Where our schema is not there, nobody has taken over.
func (s Source) stillOurs(ctx context.Context) error {
	exists, err := s.Exists(ctx)
	if err != nil || !exists {
		return err
	}
	return s.Hold(ctx, s.Conn)
}

// HoldSQL is the statement of Hold, for a transaction that is sent in one piece. The error of such a one goes through Held.
func (s Source) HoldSQL() string {
	return s.in(fmt.Sprintf("SELECT {schema}.hold(%d)", s.Epoch))
}

// Held makes ErrTakenOver of the error by which a server refuses HoldSQL.
func (s Source) Held(err error) error {
	if hasCode(err, takenOver) || hasCode(err, "3F000") || hasCode(err, "42883") { // invalid_schema_name, undefined_function
		return fmt.Errorf("%w: %w", ErrTakenOver, err)
	}
	return err
}
