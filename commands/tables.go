package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// mostTables bounds the pages that are read, should the service never come to the last.
const mostTables = 1_000_000

func tablesCommand() Command {
	return Command{
		Name:     "tables",
		Synopses: []string{""},
		Summary:  "Show the statistics of the replication table by table",
		Details:  "Not every migration service offers them.",
		make:     func() options { return &tablesOptions{} },
	}
}

type tablesOptions struct{}

func (o *tablesOptions) flags() []Flag { return nil }

func (o *tablesOptions) names(names []string) error { return noNames(names) }

func (o *tablesOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Getting the tables of the replication", m.target)
	var progress api.ReplicationProgress
	if err := i.busy(ctx, "Reading the tables", func(ctx context.Context) (err error) {
		progress, err = m.allTables(ctx)
		return err
	}); err != nil {
		return i.noTables(ctx, m, err)
	}
	i.result.Status, i.result.Progress = string(progress.Status), progress
	i.Streams.Tables(progress, i.Clock.Now())
	return nil
}

// allTables reads the progress with all its pages as one.
func (m *migration) allTables(ctx context.Context) (api.ReplicationProgress, error) {
	all, err := m.ReplicationProgress(ctx, m.names, tablesAtOnce, "")
	for err == nil && all.NextCursor != nil && *all.NextCursor != "" && len(all.Tables) < mostTables {
		var page api.ReplicationProgress
		page, err = m.ReplicationProgress(ctx, m.names, tablesAtOnce, *all.NextCursor)
		all.Tables = append(all.Tables, page.Tables...)
		all.NextCursor = page.NextCursor
	}
	return all, err
}

// noTables tells a replication that is not there from a service that has no statistics.
func (i *invocation) noTables(ctx context.Context, m *migration, err error) error {
	if !isKind(err, client.NotFound) {
		return err
	}
	status, statusErr := m.Replication(ctx, m.names)
	if statusErr != nil {
		return i.withCure(statusErr, m.replication())
	}
	i.result.Status = status
	return &Failure{
		Code: NotFound, Message: "This migration service offers no statistics table by table.", err: err,
		Hint: fmt.Sprintf("The replication is %s. See its status with '%s replication'.", status, i.Program),
	}
}
