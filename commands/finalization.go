package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

func finalizationCommand() Command {
	return Command{
		Name:     "finalization",
		Synopses: []string{"[--wait [--timeout DURATION] [--poll-interval DURATION]]"},
		Summary:  "Show the status of the finalization, and at the end what was verified",
		Details: "The status is WAITING, RUNNING, FAILED or COMPLETED. Without a terminal the last line of the\n" +
			"standard output is the status alone. FAILED is exit status 1.",
		make: func() options { return &finalizationOptions{} },
	}
}

type finalizationOptions struct{ waiting waiting }

func (o *finalizationOptions) flags() []Flag { return o.waiting.flags("COMPLETED") }

func (o *finalizationOptions) names(names []string) error {
	if err := noNames(names); err != nil {
		return err
	}
	return o.waiting.check()
}

func (o *finalizationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	i.banner("Getting finalization status", m.target)
	view := finalizationView{invocation: i, migration: m}
	if o.waiting.wait {
		return view.watch(ctx, o.waiting, false)
	}
	if err := view.read(ctx, i.asJSON || i.Streams.OutTerminal); err != nil {
		return i.withCure(err, m.finalization())
	}
	return view.conclude()
}

// finalizationView is what is known of a finalization.
type finalizationView struct {
	*invocation
	*migration

	status   string
	progress *api.FinalizationProgress // nil where it is not offered, or not asked for
	plain    bool                      // the service does not offer progress
}

// read asks for the status, and for the progress if that is wanted or tells how it ended.
func (v *finalizationView) read(ctx context.Context, detailed bool) error {
	status, err := v.Finalization(ctx, v.names)
	if err != nil {
		return err
	}
	v.status, v.progress = status, nil
	ended := status == string(api.FinalizationFailed) || status == string(api.FinalizationCompleted)
	if v.plain || !detailed && !ended {
		return nil
	}
	progress, err := v.FinalizationProgress(ctx, v.names)
	if err != nil { // the status counts, the rest is an extra
		v.plain = isKind(err, client.NotFound)
		return nil
	}
	v.progress = &progress
	return nil
}

// watch waits until the finalization is over, and shows the end. accepted tells that the service has answered before.
func (v *finalizationView) watch(ctx context.Context, w waiting, accepted bool) error {
	j := v.finalization()
	v.goesOn = fmt.Sprintf(" The finalization goes on at the service. Look again with '%s finalization'.", v.Program)
	err := w.until(ctx, v.invocation, j.noun, v.Program+" finalization --wait", accepted, func(ctx context.Context) (ui.State, bool, error) {
		if err := v.read(ctx, true); err != nil {
			return ui.State{}, false, err
		}
		if !j.known(v.status) {
			return ui.State{}, false, j.unknown(v.invocation, v.status)
		}
		over := v.status == string(api.FinalizationFailed) || v.status == string(api.FinalizationCompleted)
		return ui.FinalizationState(v.status, v.progress, v.Clock.Now()), over, nil
	})
	v.result.Status = v.status
	if err != nil {
		return v.withCure(err, j)
	}
	return v.conclude()
}

// conclude prints the result, and gives the failure if the finalization failed.
func (v *finalizationView) conclude() error {
	v.result.Status = v.status
	if v.progress != nil {
		v.result.Progress = v.progress
	}
	v.Streams.Finalization(v.status, v.progress, v.Clock.Now())
	switch api.FinalizationStatus(v.status) {
	case api.FinalizationWaiting, api.FinalizationRunning:
		v.Streams.Next("wait until it is completed with '%s finalization --wait'", v.Program)
	case api.FinalizationCompleted:
		target := quote(v.target.TargetInstance)
		v.Streams.Next("bind your applications to the target and restart them with 'cf bind-service APP %s' and 'cf restart APP'", target)
	case api.FinalizationFailed:
		var reason *api.Failure
		if v.progress != nil {
			reason = v.progress.Error
		}
		return v.finalization().failed(v.invocation, reason,
			quote(v.target.SourceInstance)+" can be written again and the replication goes on: restart your applications with it.",
			fmt.Sprintf("Mend the cause, then try again with '%s create-finalization --wait'.", v.Program))
	default:
		v.Streams.Note("This version of the plugin does not know the status %q.", ui.Clean(v.status))
	}
	return nil
}

func isKind(err error, kind client.Kind) bool {
	var answer *client.Error
	return errors.As(err, &answer) && answer.Kind == kind
}
