package capture

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// History tells a server's WAL from that of all others, even of its own copies. LSNs mean something within one history only.
type History struct {
	System   string // system identifier: of a server and its copies
	Timeline int32  // another one after each recovery from a backup and each failover to a standby
}

// Identify asks the server at the other end of a replication connection for its history and for the position up to which its
// WAL is on its disk. A login for replication may always ask that.
func Identify(ctx context.Context, replication *pgconn.PgConn) (History, pglogrepl.LSN, error) {
	found, err := pglogrepl.IdentifySystem(ctx, replication)
	if err != nil {
		return History{}, 0, fmt.Errorf("asking the source who it is: %w", err)
	}
	return History{System: found.SystemID, Timeline: found.Timeline}, found.XLogPos, nil
}

// LastBeat gives the number of the newest heartbeat; 0: the source has no heartbeats.
func (s Source) LastBeat(ctx context.Context) (nonce int64, err error) {
	err = s.Conn.QueryRow(ctx, s.in("SELECT nonce FROM {schema}.beat WHERE id = 1")).Scan(&nonce)
	if hasCode(err, "42P01") || errors.Is(err, pgx.ErrNoRows) { // undefined_table, also where the schema is not there
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the heartbeat on the source: %w", err)
	}
	return nonce, nil
}
