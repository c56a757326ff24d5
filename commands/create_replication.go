package commands

import (
	"context"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

func createReplicationCommand() Command {
	return Command{
		Name:     "create-replication",
		Synopses: []string{"[--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Start the replication in the background",
		Details: "The service copies the source into the target and then keeps carrying over its changes, while\n" +
			"the applications go on with the source.",
		make: func() options { return &createReplicationOptions{} },
	}
}

type createReplicationOptions struct{ waiting }

func (o *createReplicationOptions) flags() []Flag { return o.waiting.flags("IN-SYNC") }

func (o *createReplicationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	view := i.viewReplication(m)
	i.banner("Creating the replication", m.names)
	if err := i.create(ctx, view.job, func(ctx context.Context) error {
		return m.CreateReplication(ctx, m.names)
	}); err != nil {
		return err
	}
	return view.created(ctx, o.waiting, api.ReplicationWaiting)
}
