package trust

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// Distrusted is a table that holds something else on the target than on the source.
type Distrusted struct {
	OID      uint32 // on the source
	Deferred bool   // it is copied in every finalization anyway
	Natural  bool   // nobody is to blame: the source does not tell what happened to it
	Why      string // for people; names the table
}

// DifferenceError says that tables are not on the target what they are on the source.
type DifferenceError struct{ Tables []Distrusted }

// namedTables bounds the list in a message.
const namedTables = 10

func (e *DifferenceError) Error() string {
	var texts []string
	for _, t := range e.Tables {
		if len(texts) == namedTables {
			texts = append(texts, fmt.Sprintf("and %d more tables", len(e.Tables)-namedTables))
			break
		}
		texts = append(texts, t.Why)
	}
	return strings.Join(texts, ", ")
}

// Distrust gives the tables that an error says are not what the source was: a verification's, or those of a change that did not
// find its row or found its place taken. A *failure.Failure has decided on what to do already.
func Distrust(err error) []Distrusted {
	var (
		difference *DifferenceError
		mismatch   *stream.MismatchError
		refused    *stream.RefusedError
		pg         *pgconn.PgError
	)
	switch {
	case failure.Of(err) != nil:
		return nil
	case errors.As(err, &difference):
		return difference.Tables
	case errors.As(err, &mismatch):
		return []Distrusted{{OID: mismatch.OID, Why: mismatch.Error()}}
	case errors.As(err, &refused) && refused.OID != 0 && errors.As(refused.Err, &pg) && (pg.Code == "23505" || pg.Code == "23P01"): // unique_violation, exclusion_violation
		return []Distrusted{{OID: refused.OID, Why: fmt.Sprintf("%s on table %s found a row of the target in its place", refused.Operation, refused.Table)}}
	}
	return nil
}

// ErrCopyAgain says that an attempt ended because tables are to be copied again.
var ErrCopyAgain = errors.New("tables are copied again")

// CopyAgain makes sure that the tables that cause distrusts are copied again by the next attempt, from a snapshot of then,
// and gives ErrCopyAgain. A table is given this chance once in a migration: after that a *failure.Failure ends it. Any other
// cause is given back as it is. Nothing may be applied meanwhile.
func CopyAgain(ctx context.Context, j *job.Job, target *pgx.Conn, cause error) error {
	tables := Distrust(cause)
	if len(tables) == 0 {
		return cause
	}
	for _, t := range tables {
		j.Progress.FoundDifferent(t.OID)
	}
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		for _, t := range tables {
			if t.Deferred {
				continue
			}
			if t.Natural {
				if err := NeedsSnapshot(ctx, j, tx, t.OID); err != nil {
					return err
				}
				continue
			}
			switch times, err := j.Ledger.CopyAgain(ctx, tx, t.OID); {
			case err != nil:
				return err
			case times > 1:
				return &failure.Failure{
					Code:    failure.Divergence,
					Message: "The target is not what the source was, for the second time, although the table was copied again: " + t.Why,
					Hint:    "Make sure that nothing else writes to the target. " + failure.StartAgain,
					Err:     cause,
				}
			}
		}
		return j.Ledger.SetStage(ctx, tx, ledger.StageStream, ledger.StageCopying)
	})
	if err != nil {
		return err
	}
	for _, t := range tables {
		j.Log.Warn("a table is copied again", "why", t.Why)
		j.Progress.Warn("The target was not what the source was, and the table is copied again: " + t.Why)
	}
	return fmt.Errorf("%w: %w", ErrCopyAgain, cause)
}

// rewrittenLimit is how many snapshots are taken in vain for a table that is truncated or rewritten all the time. Then it is
// copied under the fence, where nobody can do that.
const rewrittenLimit = 10

// NeedsSnapshot records, in a transaction, that a table was truncated or rewritten since the snapshot that it was to be copied
// from.
func NeedsSnapshot(ctx context.Context, j *job.Job, tx pgx.Tx, oid uint32) error {
	deferred, err := j.Ledger.Rewritten(ctx, tx, oid, rewrittenLimit)
	if err != nil || !deferred {
		return err
	}
	t, _ := j.Progress.Table(oid)
	j.Log.Warn("a table is deferred", "table", t.Catalog.String(), "rewritten", rewrittenLimit)
	j.Progress.Warn(fmt.Sprintf("Table %s is truncated or rewritten all the time. It is copied in the finalization, while writers are kept off", t.Catalog))
	return nil
}
