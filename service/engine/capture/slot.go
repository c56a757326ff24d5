package capture

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Point is where a slot begins: a snapshot that shows exactly the transactions that commit before LSN.
type Point struct {
	LSN      pglogrepl.LSN
	Snapshot string // name of the exported snapshot, good until the session's next command
}

// CreateSlot creates the migration's permanent slot and exports its snapshot on replication, the session of which must
// stay idle as long as the snapshot is to be imported. It waits for all write transactions that run now to end.
func CreateSlot(ctx context.Context, replication *pgconn.PgConn, id string) (Point, error) {
	return createSlot(ctx, replication, "CREATE_REPLICATION_SLOT "+pgx.Identifier{Slot(id)}.Sanitize()+" LOGICAL pgoutput EXPORT_SNAPSHOT")
}

// CreateTemporarySlot is CreateSlot for a slot that lives as long as the session: a later point to copy or verify at.
func CreateTemporarySlot(ctx context.Context, replication *pgconn.PgConn, id, purpose string) (Point, error) {
	name := pgx.Identifier{Slot(id) + "_" + purpose}.Sanitize()
	return createSlot(ctx, replication, "CREATE_REPLICATION_SLOT "+name+" TEMPORARY LOGICAL pgoutput EXPORT_SNAPSHOT")
}

func createSlot(ctx context.Context, replication *pgconn.PgConn, command string) (Point, error) {
	results, err := replication.Exec(ctx, command).ReadAll()
	if err != nil {
		return Point{}, fmt.Errorf("creating a replication slot: %w", err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 3 {
		return Point{}, fmt.Errorf("creating a replication slot: unexpected answer of the source")
	}
	row := results[0].Rows[0]
	lsn, err := pglogrepl.ParseLSN(string(row[1]))
	if err != nil {
		return Point{}, fmt.Errorf("creating a replication slot: %w", err)
	}
	return Point{LSN: lsn, Snapshot: string(row[2])}, nil
}

const (
	slotPIDSQL = `SELECT coalesce(active_pid, 0) FROM pg_catalog.pg_replication_slots WHERE slot_name = $1`

	slotDropTries = 40
	slotDropPause = 250 * time.Millisecond
)

// DropSlot drops the migration's slot, by its exact name, after ending the session that reads it. No slot is no error. It
// asks by the replication protocol and not by pg_drop_replication_slot: that function wants the REPLICATION attribute of the
// current role, which a login that is set to an owner role does not have.
func (s Source) DropSlot(ctx context.Context, connect database.DialReplication) error {
	exists, err := s.EndSlotSession(ctx)
	if err != nil || !exists {
		return err
	}
	if err := s.stillOurs(ctx); err != nil {
		return fmt.Errorf("dropping replication slot %s: %w", Slot(s.ID), err)
	}
	replication, err := connect(ctx)
	if err != nil {
		return fmt.Errorf("dropping replication slot %s: %w", Slot(s.ID), err)
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }()
	for try := 1; ; try++ {
		_, err = replication.Exec(ctx, "DROP_REPLICATION_SLOT "+s.slot()).ReadAll()
		switch {
		case err == nil, hasCode(err, "42704"): // undefined_object: somebody was quicker
			return nil
		case !hasCode(err, "55006") || try == slotDropTries: // object_in_use
			return fmt.Errorf("dropping replication slot %s: %w", Slot(s.ID), err)
		}
		if _, err := s.EndSlotSession(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(slotDropPause):
		}
	}
}

// EndSlotSession ends the session that reads the migration's slot, which an earlier worker may have left behind.
func (s Source) EndSlotSession(ctx context.Context) (exists bool, err error) {
	var pid int32
	switch err := s.Conn.QueryRow(ctx, slotPIDSQL, Slot(s.ID)).Scan(&pid); {
	case errors.Is(err, pgx.ErrNoRows):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("looking for replication slot %s: %w", Slot(s.ID), err)
	}
	if pid != 0 {
		// As the login itself, not as an owner role that it is set to: only then are its sessions its own. Refused where another
		// login reads the slot; that session then ends by itself, or the drop says who holds it.
		_ = pgx.BeginFunc(ctx, s.Conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET LOCAL ROLE NONE"); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "SELECT pg_catalog.pg_terminate_backend($1)", pid)
			return err
		})
	}
	return true, nil
}

// SlotState is what the source says of the migration's slot.
type SlotState struct {
	Exists bool
	Lost   bool          // the source removed WAL that the slot needs
	Behind int64         // bytes of WAL that the source keeps for the slot
	Limit  int64         // bytes of WAL that the source keeps for a slot at most; 0: no limit
	Now    pglogrepl.LSN // the source's insert position
	// Confirmed is the position up to which the source was told that the target has everything: it sends nothing of before again.
	Confirmed pglogrepl.LSN
}

// wal_status exists from 13 on, hence the detour over JSON, as does max_slot_wal_keep_size, in MB; -1 is no limit.
const slotStateSQL = `
SELECT
    s.slot_name IS NOT NULL,
    coalesce(pg_catalog.to_jsonb(s) ->> 'wal_status', '') = 'lost',
    coalesce(pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), s.restart_lsn), 0)::bigint,
    coalesce((
        SELECT greatest(setting::bigint, 0) * 1024 * 1024
        FROM pg_catalog.pg_settings
        WHERE name = 'max_slot_wal_keep_size'), 0),
    pg_catalog.pg_current_wal_insert_lsn()::text,
    coalesce(s.confirmed_flush_lsn, '0/0')::text
FROM (SELECT 1) AS one
LEFT JOIN pg_catalog.pg_replication_slots AS s ON s.slot_name = $1`

// SlotState reads the state of the migration's slot.
func (s Source) SlotState(ctx context.Context) (state SlotState, err error) {
	var now, confirmed string
	if err := s.Conn.QueryRow(ctx, slotStateSQL, Slot(s.ID)).Scan(&state.Exists, &state.Lost, &state.Behind, &state.Limit, &now, &confirmed); err != nil {
		return SlotState{}, fmt.Errorf("reading the state of replication slot %s: %w", Slot(s.ID), err)
	}
	if state.Now, err = pglogrepl.ParseLSN(now); err == nil {
		state.Confirmed, err = pglogrepl.ParseLSN(confirmed)
	}
	if err != nil {
		return SlotState{}, fmt.Errorf("reading the state of replication slot %s: %w", Slot(s.ID), err)
	}
	return state, nil
}
