package commands

import (
	"context"
	"fmt"
)

func deleteReplicationCommand() Command {
	return Command{
		Name:     "delete-replication",
		Synopses: []string{"[-f] [--clean-target] [--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Stop the replication and remove what it left on the source",
		Details: "It asks before; without a terminal it needs -f. What was copied stays in the target, unless\n" +
			"--clean-target is given. That there is no replication is no error.",
		make: func() options { return &deleteReplicationOptions{} },
	}
}

type deleteReplicationOptions struct {
	deletion
	cleanTarget bool
}

func (o *deleteReplicationOptions) flags() []Flag {
	return append(o.deletion.flags(), switchFlag("clean-target", "",
		"Also drop from the target what the replication created there", &o.cleanTarget))
}

func (o *deleteReplicationOptions) names(names []string) error {
	if err := noNames(names); err != nil {
		return err
	}
	return o.check()
}

func (o *deleteReplicationOptions) run(ctx context.Context, i *invocation) error {
	if err := o.canConfirm(i); err != nil {
		return err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	stays := fmt.Sprintf("What was copied stays in %s.", m.target.TargetInstance)
	if o.cleanTarget {
		stays = fmt.Sprintf("All that it created in %s is dropped, with the data.", m.target.TargetInstance)
	}
	if err := o.confirm(ctx, i, fmt.Sprintf(
		"This stops the replication from %s to %s in %s and removes what it left in %s. %s\nReally delete the replication?",
		m.target.SourceInstance, m.target.TargetInstance, i.where(), m.target.SourceInstance, stays)); err != nil {
		return err
	}
	i.banner("Deleting the replication", m.target)
	if err := o.delete(ctx, i, m.replication(), func(ctx context.Context) error {
		return m.DeleteReplication(ctx, m.names, o.cleanTarget)
	}); err != nil {
		return err
	}
	if *i.result.Deleted {
		i.Streams.Next("start again with '%s create-replication --wait', or forget the target with '%s target --unset'", i.Program, i.Program)
	} else {
		i.Streams.Next("wait until it is gone with '%s delete-replication -f --wait'", i.Program)
	}
	return nil
}
