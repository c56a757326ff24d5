package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

func createFinalizationCommand() Command {
	return Command{
		Name:     "create-finalization",
		Synopses: []string{"[-f] [--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Finalize the migration: hold back writes, carry over the rest, verify every table",
		Details: "The replication has to be IN-SYNC. Stop the applications that write to the source before.\n" +
			"On a terminal it asks first; without one it goes on, as release scripts expect.",
		make: func() options { return &createFinalizationOptions{} },
	}
}

type createFinalizationOptions struct {
	waiting
	force bool
}

func (o *createFinalizationOptions) flags() []Flag {
	return append([]Flag{forceFlag(&o.force)}, o.waiting.flags("COMPLETED")...)
}

func (o *createFinalizationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	if !o.force && i.Streams.Interactive() {
		if err := i.confirm(ctx, fmt.Sprintf(
			"This ends the replication from %s to %s in %s: writes to %s are held back, the rest is carried over and every table is verified. "+
				"Stop the applications that write to %s before.\nReally finalize the migration?",
			m.source(), m.target(), i.where(), m.source(), m.source())); err != nil {
			return err
		}
	}
	view := i.viewFinalization(m)
	i.banner("Finalizing the migration", m.names)
	if err := i.create(ctx, view.job, func(ctx context.Context) error {
		return m.CreateFinalization(ctx, m.names)
	}); err != nil {
		return err
	}
	return view.created(ctx, o.waiting, api.FinalizationWaiting)
}
