package job

import "time"

// Settings are the engine's limits. Defaults gives sensible ones.
type Settings struct {
	// PgDump is the path of pg_dump, version 18 or newer.
	PgDump string
	// PgRestore is the path of pg_restore, of the same version.
	PgRestore string
	// CopyWorkers is how many tables are copied at once.
	CopyWorkers int
	// PartBytes is the size of the parts in which large tables are copied: those of twice this size and more.
	PartBytes int64
	// IndexWorkers is how many indexes are built at once.
	IndexWorkers int
	// Beat is how often the heartbeat is written to the source and the lag is measured.
	Beat time.Duration
	// GiveUpAfter is how long a replication goes on trying to reach a database.
	GiveUpAfter time.Duration
	// SlotWait is how long the creation of the slot may wait for write transactions that run on the source.
	SlotWait time.Duration
	// FenceWait is how long the finalization tries to lock the tables of the source.
	FenceWait time.Duration
	// VerifyWait is how long a verification of tables while writers work waits for write transactions that run on the source; a
	// finalization then makes it under the fence instead.
	VerifyWait time.Duration
	// VerifyAll makes a finalization verify all tables under the fence, also those that were found equal before and have not
	// changed since.
	VerifyAll bool
	// FinalizationLimit is how long a finalization may take, waiting and the verification before the fence included; the offline
	// method adds what its copy needs.
	FinalizationLimit time.Duration
	// FenceLimit is how long writers may be kept off the source, before it is given back; the offline method adds what its copy
	// needs.
	FenceLimit time.Duration
	// RefuseOffline makes the preflight check stop the migration of a source that cannot replicate.
	RefuseOffline bool
}

// Defaults gives the settings for a small machine; pg_dump and pg_restore are looked up in PATH.
func Defaults() Settings {
	return Settings{
		PgDump:            "pg_dump",
		PgRestore:         "pg_restore",
		CopyWorkers:       4,
		PartBytes:         512 << 20,
		IndexWorkers:      2,
		Beat:              time.Second,
		GiveUpAfter:       24 * time.Hour,
		SlotWait:          10 * time.Minute,
		FenceWait:         time.Minute,
		VerifyWait:        30 * time.Second,
		FinalizationLimit: 2 * time.Hour,
		FenceLimit:        15 * time.Minute,
	}
}
