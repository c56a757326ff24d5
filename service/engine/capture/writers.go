package capture

import (
	"context"
	"fmt"
	"time"
)

// Read-only transactions have no number, and nothing waits for them. A snapshot ends with the newest transaction that is
// over, not with the newest that runs, so that a number is taken. The functions were renamed in 13 and stay under these names.
const (
	newestWriterSQL = `SELECT pg_catalog.txid_current()`
	oldestWriterSQL = `SELECT pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())`

	writersPoll = 50 * time.Millisecond
)

// AwaitWriters waits until all write transactions that run now on the source's server have ended, as the creation of a slot
// would. It holds nobody up.
func (s Source) AwaitWriters(ctx context.Context) error {
	var newest, oldest int64
	if err := s.Conn.QueryRow(ctx, newestWriterSQL).Scan(&newest); err != nil {
		return fmt.Errorf("asking for the transactions that run on the source: %w", err)
	}
	for {
		if err := s.Conn.QueryRow(ctx, oldestWriterSQL).Scan(&oldest); err != nil {
			return fmt.Errorf("asking for the transactions that run on the source: %w", err)
		}
		if oldest >= newest {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(writersPoll):
		}
	}
}
