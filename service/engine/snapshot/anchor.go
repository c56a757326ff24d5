package snapshot

import (
	"context"
	"errors"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// ErrMoved says that the tables were others before the snapshot than in it. Another one may find them at rest.
var ErrMoved = errors.New("tables were created, renamed or dropped on the source while the snapshot was taken")

// Anchor is what tables are copied from: a snapshot, kept alive, and the tables in it.
type Anchor struct {
	Keeper  *Keeper
	History capture.History // in which the keeper's position means something; unknown without a position
	Tables  []catalog.Table
	// Rewritten says that one of them was truncated or rewritten while the snapshot was taken.
	Rewritten bool
}

// Close lets the snapshot go.
func (a *Anchor) Close(ctx context.Context) { a.Keeper.Close(ctx) }

// Now takes a snapshot of the source as it is, which has no position, and reads the tables in it. The caller closes it.
func Now(ctx context.Context, source database.Dial) (*Anchor, error) {
	conn, err := source(ctx)
	if err != nil {
		return nil, err
	}
	keeper, err := KeepCurrent(ctx, conn, 0)
	if err != nil {
		return nil, err
	}
	tables, err := catalog.Tables(ctx, keeper.Conn())
	if err != nil {
		keeper.Close(ctx)
		return nil, err
	}
	return &Anchor{Keeper: keeper, Tables: tables}, nil
}
