package commands

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// mostTables bounds the pages that are read, should the service never come to the last.
const mostTables = 1_000_000

func tablesCommand() Command {
	return Command{
		Name:     "tables",
		Synopses: []string{"[--sort ORDER] [--all]"},
		Summary:  "Show the statistics of the replication table by table",
		Details: "On a terminal it shows the first 25 in their order; a file, a pipe and --json get all of them.\n" +
			"Not every migration service offers statistics.",
		make: func() options { return &tablesOptions{sort: "name"} },
	}
}

// shownTables is how many tables a terminal gets without --all.
const shownTables = 25

type tablesOptions struct {
	sort string
	all  bool
}

func (o *tablesOptions) flags() []Flag {
	return []Flag{
		{Name: "sort", Value: "ORDER", Text: "Order: " + strings.Join(orders(), ", "), set: func(value string) error {
			if !slices.Contains(orders(), value) {
				return usageError("--sort %q is not an order; there are %s.", value, strings.Join(orders(), ", "))
			}
			o.sort = value
			return nil
		}},
		switchFlag("all", "", "Show all tables on a terminal, too", &o.all),
	}
}

// orders are the values of --sort.
func orders() []string { return []string{"name", "size", "rows", "changes", "phase", "validation"} }

// phases and validations put first what is of most interest.
var (
	phases      = []api.TablePhase{api.TableCopying, api.TableIndexing, api.TablePending, api.TableReplicating, api.TableDeferred}
	validations = []api.ValidationState{api.Mismatched, api.ValidationPending, api.NotValidated, api.Validated}
)

// compareTables tells which of two tables stands first in an order. The service gives them by name, and a stable sort
// leaves equal ones like that.
func compareTables(order string, a, b api.TableProgress) int {
	switch order {
	case "size":
		return cmp.Compare(b.BytesTotal, a.BytesTotal)
	case "rows":
		return cmp.Compare(b.RowsTotal, a.RowsTotal)
	case "changes":
		return cmp.Compare(b.Inserts+b.Updates+b.Deletes, a.Inserts+a.Updates+a.Deletes)
	case "phase":
		return cmp.Compare(slices.Index(phases, a.Phase), slices.Index(phases, b.Phase))
	case "validation":
		return cmp.Compare(slices.Index(validations, a.Validation), slices.Index(validations, b.Validation))
	default:
		return cmp.Or(cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
	}
}

func (o *tablesOptions) names(names []string) error { return noNames(names) }

func (o *tablesOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Getting the tables of the replication", m.names)
	var progress api.ReplicationProgress
	if err := i.busy(ctx, "Reading the tables", func(ctx context.Context) (err error) {
		progress, err = m.allTables(ctx)
		return err
	}); err != nil {
		return i.noTables(ctx, m, err)
	}
	slices.SortStableFunc(progress.Tables, func(a, b api.TableProgress) int { return compareTables(o.sort, a, b) })
	i.result.Status, i.result.Progress = string(progress.Status), progress
	most := len(progress.Tables)
	if i.Streams.OutTerminal && !o.all {
		most = shownTables
	}
	i.Streams.Tables(progress, i.Clock.Now(), most)
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
