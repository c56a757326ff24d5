package state

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Change is a change of a status. The words are the domain's: to the storage they are texts, and the empty one says that there
// is nothing. The row decides, and not what somebody has read of it before: a change is stored only over one of From.
type Change struct {
	To    string
	From  []string
	Ended bool     // nothing follows by itself: the time of the end is stored
	Takes []string // of a replication: a finalization with one of these statuses goes to the same end, for the same reason
}

// StatusError says that a change was not stored, because the row has a status that it must not follow.
type StatusError struct{ Found string }

func (e *StatusError) Error() string { return fmt.Sprintf("the stored status is %q", e.Found) }

// DB is a transaction or the pool.
type DB interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// exchange runs an update that is to find its row by the key and by a status. If it does not, foundSQL gives the status of the
// row with that key. Errors: *StatusError, ErrNotFound.
func exchange(ctx context.Context, db DB, doing, sql, foundSQL string, key []any, args ...any) error {
	tag, err := db.Exec(ctx, sql, append(key, args...)...)
	if err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	var found string
	err = db.QueryRow(ctx, foundSQL, key...).Scan(&found)
	if errors.Is(err, pgx.ErrNoRows) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: reading the status: %w", doing, err)
	}
	return fmt.Errorf("%s: %w", doing, &StatusError{found})
}
