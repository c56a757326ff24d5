package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// distrusted is a table that holds something else on the target than on the source.
type distrusted struct {
	oid      uint32 // on the source
	deferred bool   // it is copied in every finalization anyway
	natural  bool   // nobody is to blame: the source does not tell what happened to it
	why      string // for people; names the table
}

// differenceError says that a comparison found tables to differ.
type differenceError struct{ tables []distrusted }

func (e *differenceError) Error() string {
	var texts []string
	for _, t := range e.tables {
		if len(texts) == namedChanges {
			texts = append(texts, fmt.Sprintf("and %d more tables", len(e.tables)-namedChanges))
			break
		}
		texts = append(texts, t.why)
	}
	return strings.Join(texts, ", ")
}

// distrust gives the tables that an error says are not what the source was: a comparison's, or those of a change that did not
// find its row or found its place taken.
func distrust(err error) []distrusted {
	var (
		difference *differenceError
		mismatch   *stream.MismatchError
		refused    *stream.RefusedError
		pg         *pgconn.PgError
	)
	switch {
	case errors.As(err, &difference):
		return difference.tables
	case errors.As(err, &mismatch):
		return []distrusted{{oid: mismatch.OID, why: mismatch.Error()}}
	case errors.As(err, &refused) && refused.OID != 0 && errors.As(refused.Err, &pg) && (pg.Code == "23505" || pg.Code == "23P01"): // unique_violation, exclusion_violation
		return []distrusted{{oid: refused.OID, why: fmt.Sprintf("%s on table %s found a row of the target in its place", refused.Operation, refused.Table)}}
	}
	return nil
}

// errCopyAgain says that an attempt ended because tables are to be copied again.
var errCopyAgain = errors.New("tables are copied again")

// copyAgain makes sure that the tables that cause distrusts are copied again by the next attempt, from a snapshot of then,
// and gives errCopyAgain. A table is given this chance once in a migration: after that the *Failure ends it. Any other cause
// is given back as it is. The stream must not be at work.
func (r *Replication) copyAgain(ctx context.Context, target *pgx.Conn, cause error) error {
	tables := distrust(cause)
	if len(tables) == 0 {
		return cause
	}
	r.mu.Lock()
	for _, t := range tables {
		r.tables[t.oid].validation = Mismatched
	}
	r.mu.Unlock()
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		for _, t := range tables {
			if t.deferred {
				continue
			}
			if t.natural {
				if err := r.needsSnapshot(ctx, tx, t.oid); err != nil {
					return err
				}
				continue
			}
			switch times, err := r.ledger.CopyAgain(ctx, tx, t.oid); {
			case err != nil:
				return err
			case times > 1:
				return &Failure{
					Code:    CodeDivergence,
					Message: "The target is not what the source was, for the second time, although the table was copied again: " + t.why,
					Hint:    "Make sure that nothing else writes to the target. " + startAgain,
					Err:     cause,
				}
			}
		}
		return r.ledger.SetStage(ctx, tx, ledger.StageCopying)
	})
	if err != nil {
		return err
	}
	for _, t := range tables {
		r.log.Warn("a table is copied again", "why", t.why)
		r.warn("The target was not what the source was, and the table is copied again: " + t.why)
	}
	return fmt.Errorf("%w: %w", errCopyAgain, cause)
}

// rewrittenLimit is how many snapshots are taken in vain for a table that is truncated or rewritten all the time. Then it is
// copied under the fence, where nobody can do that.
const rewrittenLimit = 10

// needsSnapshot records, in a transaction, that a table was truncated or rewritten.
func (r *Replication) needsSnapshot(ctx context.Context, tx pgx.Tx, oid uint32) error {
	deferred, err := r.ledger.Rewritten(ctx, tx, oid, rewrittenLimit)
	if err != nil || !deferred {
		return err
	}
	r.mu.Lock()
	table := r.tables[oid].table
	r.mu.Unlock()
	r.log.Warn("a table is deferred", "table", table.String(), "rewritten", rewrittenLimit)
	r.warn(fmt.Sprintf("Table %s is truncated or rewritten all the time. It is copied in the finalization, while writers are kept off", table))
	return nil
}

// tellsTruncates is the first version of which the stream tells that a table was truncated.
const tellsTruncates = 11

// checkTruncated gives, for a source that does not tell, the tables that were truncated or rewritten since they were copied.
func (a *attempt) checkTruncated(ctx context.Context) error {
	if catalog.Major(a.source) >= tellsTruncates {
		return nil
	}
	tables, err := a.readTables(ctx, a.source)
	if err != nil {
		return err
	}
	var difference differenceError
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range tables {
		s := a.tables[t.OID]
		if s != nil && s.phase == TableReplicating && s.table.Filenode != t.Filenode {
			difference.tables = append(difference.tables, distrusted{
				oid: t.OID, natural: true, why: fmt.Sprintf("table %s was truncated or rewritten, which PostgreSQL 10 does not tell", t),
			})
		}
	}
	if len(difference.tables) == 0 {
		return nil
	}
	return &difference
}

// becauseTruncated gives the better reason for a change that did not find what it expected, if a TRUNCATE that the source
// does not tell is one.
func (a *attempt) becauseTruncated(ctx context.Context, cause error) error {
	if len(distrust(cause)) == 0 {
		return cause
	}
	var truncated *differenceError
	if errors.As(a.checkTruncated(ctx), &truncated) {
		return truncated
	}
	return cause
}
