// Package trust says which tables of the target are known to hold what the source holds. It verifies them while writers work,
// and has those copied again that turn out to be different.
package trust

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// Moment is one position of the source's WAL as both sides show it, while writers and the apply go on.
type Moment struct {
	LSN            pglogrepl.LSN
	Source, Target *snapshot.Keeper
	// DialSource and DialTarget open sessions outside of the snapshots.
	DialSource, DialTarget database.Dial
	Signs                  map[uint32]catalog.Sign // of the source's tables, from before it
	Stall                  time.Duration           // how long the apply stood for it
}

// Close lets both snapshots go.
func (m *Moment) Close(ctx context.Context) {
	m.Source.Close(ctx)
	m.Target.Close(ctx)
}

// Moments takes moments; each thing that it waits for may take as long as patience. Errors: ErrNoMoment. The caller closes
// what it gives.
type Moments interface {
	Moment(ctx context.Context, patience time.Duration) (*Moment, error)
}

// ErrNoMoment says that no moment could be taken in time, usually because the creation of a slot waits for all write
// transactions on the source.
var ErrNoMoment = errors.New("a write transaction on the source does not end, or the changes cannot be applied quickly enough")
