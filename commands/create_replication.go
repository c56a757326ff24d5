package commands

import "context"

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

type createReplicationOptions struct{ waiting waiting }

func (o *createReplicationOptions) flags() []Flag { return o.waiting.flags("IN-SYNC") }

func (o *createReplicationOptions) names(names []string) error {
	if err := noNames(names); err != nil {
		return err
	}
	return o.waiting.check()
}

func (o *createReplicationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Creating the replication", m.target)
	if err := i.create(ctx, m.replication(), func(ctx context.Context) error {
		return m.CreateReplication(ctx, m.names)
	}); err != nil {
		return err
	}
	i.Streams.OK()
	if o.waiting.wait {
		view := replicationView{invocation: i, migration: m}
		return view.watch(ctx, o.waiting, true)
	}
	i.Streams.Next("wait until it is in sync with '%s replication --wait'", i.Program)
	return nil
}
