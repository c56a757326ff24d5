package logical

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/trust"
)

// mendInterval is how often it is looked whether somebody has taken from a table what the stream needs. Without an identity the
// application's updates fail meanwhile.
const mendInterval = 2 * time.Second

// mend gives tables back what the stream needs of them. One without an identity gets one, and nothing was lost: the source has
// refused updates and deletes. One that was not published for a while has to be copied again: *trust.DifferenceError.
func (f *following) mend(ctx context.Context, conn *pgx.Conn) error {
	source := f.job.Capture(conn)
	suspect, err := source.Suspect(ctx)
	if err != nil || !suspect {
		return err
	}
	found, err := catalog.TablesNow(ctx, conn)
	if err != nil {
		return err
	}
	var ours []catalog.Table
	for _, t := range found {
		if known, takesPart := f.job.Progress.Table(t.OID); takesPart && !known.Deferred {
			ours = append(ours, t)
		}
	}
	unpublished, unidentified, err := source.Lacking(ctx, ours)
	if err != nil || len(unpublished)+len(unidentified) == 0 {
		return err
	}
	if err := source.Prepare(ctx, append(unpublished, unidentified...)); err != nil {
		return err
	}
	for _, t := range unidentified {
		f.job.Progress.Warn(fmt.Sprintf("Table %s of the source had lost its replica identity, so that updates and deletes were refused there. It was given another one", t))
	}
	if len(unpublished) == 0 {
		return nil
	}
	difference := &trust.DifferenceError{}
	for _, t := range unpublished {
		difference.Tables = append(difference.Tables, trust.Distrusted{OID: t.OID, Natural: true, Why: fmt.Sprintf("table %s was taken from the publication of the source", t)})
	}
	return difference
}
