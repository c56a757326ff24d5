package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
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

type replicationOptions struct{ waiting waiting }

func (o *replicationOptions) flags() []Flag { return o.waiting.flags("IN-SYNC") }

func (o *replicationOptions) names(names []string) error {
	if err := noNames(names); err != nil {
		return err
	}
	return o.waiting.check()
}

func (o *replicationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Getting replication status", m.target)
	view := replicationView{invocation: i, migration: m}
	if o.waiting.wait {
		return view.watch(ctx, o.waiting, false)
	}
	if err := view.read(ctx, i.asJSON || i.Streams.OutTerminal); err != nil {
		return i.withCure(err, m.replication())
	}
	return view.conclude()
}

// replicationView is what is known of a replication.
type replicationView struct {
	*invocation
	*migration

	status   string
	progress *api.ReplicationProgress // nil where it is not offered, or not asked for
	plain    bool                     // the service does not offer progress
}

// read asks for the status, and for the progress if that is wanted or tells why the replication failed.
func (v *replicationView) read(ctx context.Context, detailed bool) error {
	status, err := v.Replication(ctx, v.names)
	if err != nil {
		return err
	}
	v.status, v.progress = status, nil
	if v.plain || !detailed && status != string(api.ReplicationFailed) {
		return nil
	}
	progress, err := v.ReplicationProgress(ctx, v.names, tablesAtOnce, "")
	if err != nil { // the status counts, the rest is an extra
		v.plain = isKind(err, client.NotFound)
		return nil
	}
	v.progress = &progress
	return nil
}

// watch waits until the replication is in sync, or past that, and shows the end. accepted tells that the service has
// answered before.
func (v *replicationView) watch(ctx context.Context, w waiting, accepted bool) error {
	j := v.replication()
	v.goesOn = fmt.Sprintf(" The replication goes on at the service. Look again with '%s replication'.", v.Program)
	err := w.until(ctx, v.invocation, j.noun, v.Program+" replication --wait", accepted, func(ctx context.Context) (ui.State, bool, error) {
		if err := v.read(ctx, true); err != nil {
			return ui.State{}, false, err
		}
		if !j.known(v.status) {
			return ui.State{}, false, j.unknown(v.invocation, v.status)
		}
		state := ui.ReplicationState(v.status, v.progress, v.Clock.Now())
		switch api.ReplicationStatus(v.status) {
		case api.ReplicationInSync, api.ReplicationCompleted, api.ReplicationFailed:
			return state, true, nil
		default:
			return state, false, nil
		}
	})
	v.result.Status = v.status
	if err != nil {
		return v.withCure(err, j)
	}
	return v.conclude()
}

// conclude prints the result, and gives the failure if the replication failed.
func (v *replicationView) conclude() error {
	v.result.Status = v.status
	if v.progress != nil {
		v.result.Progress = v.progress
	}
	v.Streams.Replication(v.status, v.progress, v.Clock.Now())
	switch api.ReplicationStatus(v.status) {
	case api.ReplicationWaiting, api.ReplicationRunning:
		v.Streams.Next("wait until it is in sync with '%s replication --wait'", v.Program)
	case api.ReplicationInSync:
		v.Streams.Next("stop the applications that write to %s, then finalize with '%s create-finalization --wait'",
			quote(v.target.SourceInstance), v.Program)
	case api.ReplicationCompleted:
		v.Streams.Next("see the result with '%s finalization'", v.Program)
	case api.ReplicationFailed:
		var reason *api.Failure
		if v.progress != nil {
			reason = v.progress.Error
		}
		return v.replication().failed(v.invocation, reason,
			quote(v.target.SourceInstance)+" is untouched and can be used.",
			fmt.Sprintf("Mend the cause, then start again with '%s delete-replication --clean-target' and '%s create-replication --wait'.", v.Program, v.Program))
	default:
		v.Streams.Note("This version of the plugin does not know the status %q.", ui.Clean(v.status))
	}
	return nil
}
