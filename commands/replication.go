package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// tablesAtOnce is how many tables one page of progress holds at most.
const tablesAtOnce = 1000

func replicationCommand() Command {
	return Command{
		Name:     "replication",
		Synopses: []string{"[--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Show the status of the replication",
		Details: "The status is WAITING, RUNNING, IN-SYNC, FAILED or COMPLETED. Without a terminal the last line\n" +
			"of the standard output is the status alone. FAILED is exit status 1.",
		make: func() options { return &replicationOptions{} },
	}
}

type replicationOptions struct{ waiting }

func (o *replicationOptions) flags() []Flag { return o.waiting.flags("IN-SYNC") }

func (o *replicationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	return i.viewReplication(m).show(ctx, o.waiting)
}

// viewReplication is the replication as people are shown it.
func (i *invocation) viewReplication(m *migration) *view[api.ReplicationStatus, api.ReplicationProgress] {
	source := quote(m.source())
	untilInSync := fmt.Sprintf("wait until it is in sync with '%s replication --wait'", i.Program)
	return &view[api.ReplicationStatus, api.ReplicationProgress]{
		invocation: i, job: m.replication(), names: m.names,
		ask: func(ctx context.Context) (api.ReplicationProgress, error) {
			return m.ReplicationProgress(ctx, m.names, tablesAtOnce, "")
		},
		reason:  func(p *api.ReplicationProgress) *api.Failure { return p.Error },
		state:   ui.ReplicationState,
		print:   i.Streams.Replication,
		over:    []api.ReplicationStatus{api.ReplicationInSync, api.ReplicationCompleted, api.ReplicationFailed},
		telling: []api.ReplicationStatus{api.ReplicationFailed},
		next: map[api.ReplicationStatus]string{
			api.ReplicationWaiting: untilInSync,
			api.ReplicationRunning: untilInSync,
			api.ReplicationInSync: fmt.Sprintf("stop the applications that write to %s, then finalize with '%s create-finalization --wait'",
				source, i.Program),
			api.ReplicationCompleted: fmt.Sprintf("see the result with '%s finalization'", i.Program),
		},
		consequence: source + " is untouched and can be used.",
		cure: fmt.Sprintf("Mend the cause, then start again with '%s delete-replication --clean-target' and '%s create-replication --wait'.",
			i.Program, i.Program),
	}
}
