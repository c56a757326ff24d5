package commands

import (
	"context"
	"fmt"
)

func deleteFinalizationCommand() Command {
	return Command{
		Name:     "delete-finalization",
		Synopses: []string{"[-f] [--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Stop the finalization and remove it",
		Details:  "It asks before; without a terminal it needs -f. That there is no finalization is no error.",
		make:     func() options { return &deleteFinalizationOptions{} },
	}
}

type deleteFinalizationOptions struct{ deletion }

func (o *deleteFinalizationOptions) run(ctx context.Context, i *invocation) error {
	if err := o.canConfirm(i); err != nil {
		return err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	if err := o.confirm(ctx, i, fmt.Sprintf(
		"This stops the finalization of the migration from %s to %s in %s, if it runs, and removes it.\nReally delete the finalization?",
		m.source(), m.target(), i.where())); err != nil {
		return err
	}
	i.banner("Deleting the finalization", m.names)
	if err := o.delete(ctx, i, m.finalization(), func(ctx context.Context) error {
		return m.DeleteFinalization(ctx, m.names)
	}); err != nil {
		return err
	}
	if *i.result.Deleted {
		i.Streams.Next("look at the replication with '%s replication'", i.Program)
	} else {
		i.Streams.Next("wait until it is gone with '%s delete-finalization -f --wait'", i.Program)
	}
	return nil
}
