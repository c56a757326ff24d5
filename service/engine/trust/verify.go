package trust

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// Verification is where tables are verified.
type Verification struct {
	Sides          verify.Sides
	Source, Target database.Dial
	At             pglogrepl.LSN // both show exactly the source's transactions that commit before it
	// Signs are what the source's tables showed before: whatever happened since then may not be in what is verified.
	Signs  map[uint32]catalog.Sign
	Report func(verify.Result) // is given each result, one after the other; may be nil
}

// SidesOf gives what a verification needs to know of both servers.
func SidesOf(source, target *pgx.Conn) verify.Sides {
	return verify.Sides{SourceMajor: catalog.Major(source), TargetMajor: catalog.Major(target)}
}

// Verify verifies tables and keeps on the board what it finds. Errors: *DifferenceError.
func (v Verification) Verify(ctx context.Context, j *job.Job, tables []progress.Table) error {
	oids := make([]uint32, len(tables))
	verified := make([]catalog.Table, len(tables))
	deferred := make(map[uint32]bool, len(tables))
	for i, t := range tables {
		oids[i], verified[i], deferred[t.Catalog.OID] = t.Catalog.OID, t.Catalog, t.Deferred
	}
	unknown := j.Progress.VerificationBegan(oids)
	difference := &DifferenceError{}
	var rewritten error
	err := v.Sides.Verify(ctx, v.Source, v.Target, verified, j.Settings.CopyWorkers, func(result verify.Result) {
		if result.Rewritten {
			rewritten = fmt.Errorf("table %s was truncated or rewritten while it was verified", result.Table)
			return
		}
		oid := result.Table.OID
		delete(unknown, oid)
		if result.Equal() {
			j.Progress.FoundEqual(oid, v.At, result.Source, v.Signs[oid])
		} else {
			j.Progress.FoundDifferent(oid)
			difference.Tables = append(difference.Tables, Distrusted{OID: oid, Deferred: deferred[oid], Why: result.Describe()})
		}
		if v.Report != nil {
			v.Report(result)
		}
	})
	j.Progress.VerificationEnded(unknown)
	switch {
	case len(difference.Tables) > 0:
		return difference
	case err != nil:
		return err
	}
	return rewritten
}
