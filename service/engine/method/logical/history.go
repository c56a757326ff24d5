package logical

import (
	"context"
	"fmt"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
)

// checkHistory makes sure that the source is still the server that the ledger knows and has all that the target has. One that
// was put back into an earlier state, with its slot, gives the LSNs of lost transactions to new ones, which would be taken for
// applied.
func checkHistory(ctx context.Context, source capture.Source, replication *pgconn.PgConn, known ledger.Progress) error {
	history, end, err := capture.Identify(ctx, replication)
	if err != nil {
		return err
	}
	beat, err := source.LastBeat(ctx)
	if err != nil {
		return err
	}
	if what := otherHistory(known, history, end, beat); what != "" {
		return sourceReplaced(what)
	}
	return nil
}

// otherHistory says by what the source is seen not to be what the ledger knows, or nothing. The position alone would not do:
// a source that was put back is beyond it as soon as enough was written there.
func otherHistory(known ledger.Progress, now capture.History, end pglogrepl.LSN, beat int64) string {
	switch {
	case now.System != known.History.System:
		return fmt.Sprintf("its system identifier is %s and was %s", now.System, known.History.System)
	case now.Timeline != known.History.Timeline:
		return fmt.Sprintf("it failed over to a standby or was recovered from a backup (timeline %d, before %d)", now.Timeline, known.History.Timeline)
	case end < known.Seen:
		return fmt.Sprintf("it lacks transactions that the target has (its WAL ends at %s, the target is at %s)", end, known.Seen)
	case beat < known.Beat:
		return fmt.Sprintf("it lacks transactions that the target has (its newest heartbeat is number %d, the target has number %d)", beat, known.Beat)
	}
	return ""
}

func sourceReplaced(what string) *failure.Failure {
	return &failure.Failure{
		Code:    failure.SourceReplaced,
		Message: "The source is not the server that the replication began with, or an older state of it: " + what,
		Hint:    failure.StartAgain,
	}
}
