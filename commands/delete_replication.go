package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
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

func (o *deleteReplicationOptions) run(ctx context.Context, i *invocation) error {
	if err := o.canConfirm(i); err != nil {
		return err
	}
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	// What deleting means depends on how far the migration is. Who cannot say it now is asked to delete all the same.
	status, err := m.Replication(ctx, m.names)
	if err != nil && ctx.Err() != nil {
		return err
	}
	completed := status == string(api.ReplicationCompleted)
	if err := o.confirm(ctx, i, o.question(i, m, completed)); err != nil {
		return err
	}
	i.banner("Deleting the replication", m.names)
	if err := o.delete(ctx, i, m.replication(), func(ctx context.Context) error {
		return m.DeleteReplication(ctx, m.names, o.cleanTarget)
	}); err != nil {
		return err
	}
	switch {
	case *i.result.Deleted && completed:
		i.Streams.Next("forget the target with '%s target --unset'", i.Program)
	case *i.result.Deleted:
		i.Streams.Next("start again with '%s create-replication --wait', or forget the target with '%s target --unset'", i.Program, i.Program)
	default:
		i.Streams.Next("wait until it is gone with '%s delete-replication -f --wait'", i.Program)
	}
	return nil
}

// question names what is destroyed, and where.
func (o *deleteReplicationOptions) question(i *invocation, m *migration, completed bool) string {
	source, target := m.source(), m.target()
	text := fmt.Sprintf("This stops the replication from %s to %s in %s and removes what it left in %s. ", source, target, i.where(), source)
	switch {
	case completed:
		text = fmt.Sprintf("The migration from %s to %s in %s is completed. This removes what it left in %s, which accepts writes again then. %s keeps its data.",
			source, target, i.where(), source, target)
	case o.cleanTarget:
		text += fmt.Sprintf("All that it created in %s is dropped, with the data.", target)
	default:
		text += fmt.Sprintf("What was copied stays in %s.", target)
	}
	return text + "\nReally delete the replication?"
}
