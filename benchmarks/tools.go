package main

import (
	"context"
	"slices"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

// tool is something that moves databases.
type tool struct {
	name string
	// about says in the report how it was run.
	about string
	// copy fills an empty database with all that another one holds, and gathers statistics. It measures itself, because not
	// all that it does belongs to the figure. nil: see onlyCutover.
	copy func(*bench, context.Context, *meter, *dataset, postgres.Login) error
	// follow gives what copies a database and then carries its changes; nil: the tool cannot, or not well enough to compare.
	follow func(*bench, *dataset, postgres.Login) follower
	// onlyCutover leaves a tool out of the parts in which it is the same as another one.
	onlyCutover bool
}

// follower copies a database and then carries its changes.
type follower interface {
	// start gives back when the copy is made and changes are carried.
	start(ctx context.Context) error
	// ready waits until nothing but changes keeps it busy.
	ready(ctx context.Context) error
	pause(ctx context.Context) error
	resume(ctx context.Context) error
	// cutOver makes the target ready for the application, which has stopped, and measures what that takes.
	cutOver(ctx context.Context, m *meter) error
	// remove ends it, and leaves nothing behind on the source.
	remove(ctx context.Context) error
}

// tools are in the order in which they take their turns in the first run.
var tools = []tool{
	{
		name:   "ours",
		about:  "service/engine in the process of the benchmarks, with the settings of the service",
		copy:   (*bench).copyOurs,
		follow: newOurs,
	},
	{
		name:        "ours, VERIFY_ALL",
		about:       "as ours, and all tables are verified under the fence",
		follow:      newOursVerifyingAll,
		onlyCutover: true,
	},
	{
		name:  "pg_dump",
		about: "pg_dump -Fc -Z0 | pg_restore; vacuumdb --analyze-only -j 2",
		copy:  (*bench).copyByPipe,
	},
	{
		name:  "pg_dump -j",
		about: "pg_dump -Fd -Z0 -j 2; pg_restore -j 2; vacuumdb --analyze-only -j 2",
		copy:  (*bench).copyByFolder,
	},
	{
		name:  "pgcopydb",
		about: "pgcopydb clone --table-jobs 2 --index-jobs 2, which runs VACUUM ANALYZE",
		copy:  (*bench).copyByPgcopydb,
	},
	{
		name:   "subscription",
		about:  "schema and keys by pg_restore; CREATE SUBSCRIPTION, two tables at once; other indexes and foreign keys by pg_restore -j 2; setval; vacuumdb --analyze-only -j 2",
		copy:   (*bench).copyBySubscription,
		follow: newSubscription,
	},
}

func toolNames() list {
	var names list
	for _, t := range tools {
		names = append(names, t.name)
	}
	return names
}

// turns gives the chosen tools in an order that changes with each run, so that none has the better place.
func (b *bench) turns(run int) []tool {
	var chosen []tool
	for _, t := range tools {
		if slices.Contains(b.tools, t.name) {
			chosen = append(chosen, t)
		}
	}
	if run%2 == 0 {
		slices.Reverse(chosen)
	}
	return chosen
}
