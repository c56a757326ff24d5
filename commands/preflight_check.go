package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

func preflightCheckCommand() Command {
	return Command{
		Name:     "preflight-check",
		Synopses: []string{"[--strict]"},
		Summary:  "Check both databases for what would hinder a migration",
		Details: "Critical issues must be mended before a replication can start. It may take some minutes,\n" +
			"and changes nothing.",
		make: func() options { return &preflightCheckOptions{} },
	}
}

type preflightCheckOptions struct{ strict bool }

func (o *preflightCheckOptions) flags() []Flag {
	return []Flag{switchFlag("strict", "", "Fail on warnings, too", &o.strict)}
}

func (o *preflightCheckOptions) names(names []string) error { return noNames(names) }

func (o *preflightCheckOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Checking the migration", m.names)
	var check api.PreflightCheck
	if err := i.busy(ctx, "Looking at both databases", func(ctx context.Context) (err error) {
		check, err = m.PreflightCheck(ctx, m.names)
		return err
	}); err != nil {
		return err
	}
	critical := len(check.SourceDatabaseIssues.Critical) + len(check.TargetDatabaseIssues.Critical)
	warnings := len(check.SourceDatabaseIssues.Warning) + len(check.TargetDatabaseIssues.Warning)
	ready := critical == 0 && (warnings == 0 || !o.strict)
	i.result.Ready = &ready
	i.result.SourceDatabaseIssues, i.result.TargetDatabaseIssues = &check.SourceDatabaseIssues, &check.TargetDatabaseIssues
	i.Streams.Preflight(m.names, check)

	found := fmt.Sprintf("%s, %s", ui.Plural(critical, "critical issue"), ui.Plural(warnings, "warning"))
	if !ready {
		why := ": a replication cannot start like this."
		if critical == 0 {
			why = ": --strict accepts no warnings."
		}
		return &Failure{
			Code: PreflightCritical, Message: found + why,
			Hint: fmt.Sprintf("Mend what is listed, then check again with '%s preflight-check'.", i.Program),
		}
	}
	i.Streams.Note("%s.", found)
	i.Streams.Next("start the replication with '%s create-replication --wait'", i.Program)
	return nil
}
