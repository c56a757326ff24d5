package commands

import (
	"context"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
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

type finalizationOptions struct{ waiting }

func (o *finalizationOptions) flags() []Flag { return o.waiting.flags("COMPLETED") }

func (o *finalizationOptions) run(ctx context.Context, i *invocation) error {
	m, err := i.migration(ctx)
	if err != nil {
		return err
	}
	return i.viewFinalization(m).show(ctx, o.waiting)
}

// viewFinalization is the finalization as people are shown it.
func (i *invocation) viewFinalization(m *migration) *view[api.FinalizationStatus, api.FinalizationProgress] {
	untilCompleted := fmt.Sprintf("wait until it is completed with '%s finalization --wait'", i.Program)
	ended := []api.FinalizationStatus{api.FinalizationCompleted, api.FinalizationFailed}
	return &view[api.FinalizationStatus, api.FinalizationProgress]{
		invocation: i, job: m.finalization(), names: m.names,
		ask: func(ctx context.Context) (api.FinalizationProgress, error) {
			return m.FinalizationProgress(ctx, m.names)
		},
		reason:  func(p *api.FinalizationProgress) *api.Failure { return p.Error },
		state:   ui.FinalizationState,
		print:   i.Streams.Finalization,
		over:    ended,
		telling: ended, // COMPLETED comes with what was verified
		next: map[api.FinalizationStatus]string{
			api.FinalizationWaiting: untilCompleted,
			api.FinalizationRunning: untilCompleted,
			api.FinalizationCompleted: fmt.Sprintf(
				"bind your applications to the target and restart them with 'cf bind-service APP %s' and 'cf restart APP'", quote(m.target())),
		},
		consequence: quote(m.source()) + " can be written again and the replication goes on: restart your applications with it.",
		cure:        fmt.Sprintf("Mend the cause, then try again with '%s create-finalization --wait'.", i.Program),
	}
}
