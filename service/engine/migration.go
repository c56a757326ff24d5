package engine

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// Migration is what the engine needs to know of one migration.
type Migration struct {
	// ID is 8 lower-case hex digits; it is part of the name of every object that the engine makes on the source.
	ID string
	// Epoch grows with every worker that takes the migration over. A worker with an older epoch can change nothing on
	// the target any more.
	Epoch int64
	// Databases gives the credentials; it is called again before every reconnection, so that a rotated service key is picked up.
	Databases func(context.Context) (source, target database.Database, err error)
	// Opened says that an earlier run of the finalization passed the point of no return (see Replication.Finalize): what is
	// left is to clean up.
	Opened bool
}
