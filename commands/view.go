package commands

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// view shows a job to people: how far it is, and what to do next. S is what the contract calls its status, P its progress.
type view[S ~string, P any] struct {
	*invocation
	job
	names api.Instances

	// ask reads the progress, and reason takes from it why the job failed; nil where it does not say.
	ask    func(ctx context.Context) (P, error)
	reason func(*P) *api.Failure

	// state sums the job up while it is waited for, and print shows it at the end. The progress is nil where it is not
	// offered, or was not asked for.
	state func(status string, progress *P, now time.Time) ui.State
	print func(status string, progress *P, now time.Time)

	// over are the statuses that end a wait. Those of telling say little alone: the progress is always read with them.
	over, telling []S

	// next says what to do in a status. consequence says what a failure means for the source, cure what to do about it.
	next              map[S]string
	consequence, cure string

	// What was seen last.
	seen     S
	progress *P
	plain    bool // the service does not offer progress
}

// show shows the job as it is now, or as it is at the end of a wait.
func (v *view[S, P]) show(ctx context.Context, w waiting) error {
	v.banner(fmt.Sprintf("Getting %s status", v.noun), v.names)
	if w.wait {
		return v.watch(ctx, w, false)
	}
	if err := v.read(ctx, v.asJSON || v.Streams.OutTerminal); err != nil {
		return v.withCure(err, v.job)
	}
	return v.conclude()
}

// created says that the service has taken the job on, and waits for its end if that is asked for. waits is its status
// before anything happens.
func (v *view[S, P]) created(ctx context.Context, w waiting, waits S) error {
	v.Streams.OK()
	if w.wait {
		return v.watch(ctx, w, true)
	}
	v.Streams.Next("%s", v.next[waits])
	return nil
}

// read asks for the status, and for the progress if that is wanted or tells more.
func (v *view[S, P]) read(ctx context.Context, detailed bool) error {
	status, err := v.status(ctx)
	if err != nil {
		return err
	}
	v.seen, v.progress = S(status), nil
	if v.plain || !detailed && !slices.Contains(v.telling, v.seen) {
		return nil
	}
	progress, err := v.ask(ctx)
	if err != nil { // the status counts, the rest is an extra
		v.plain = isKind(err, client.NotFound)
		return nil
	}
	v.progress = &progress
	return nil
}

// watch waits until the job is over, and shows the end. accepted tells that the service has answered before.
func (v *view[S, P]) watch(ctx context.Context, w waiting, accepted bool) error {
	again := v.Program + " " + v.noun
	v.goesOn = fmt.Sprintf(" The %s goes on at the service. Look again with '%s'.", v.noun, again)
	err := w.until(ctx, v.invocation, v.noun, again+" --wait", accepted, func(ctx context.Context) (ui.State, bool, error) {
		if err := v.read(ctx, true); err != nil {
			return ui.State{}, false, err
		}
		if !v.known(string(v.seen)) {
			return ui.State{}, false, v.unknown(v.invocation, string(v.seen))
		}
		return v.state(string(v.seen), v.progress, v.Clock.Now()), slices.Contains(v.over, v.seen), nil
	})
	v.result.Status = string(v.seen)
	if err != nil {
		return v.withCure(err, v.job)
	}
	return v.conclude()
}

// conclude prints the result, and gives the failure if the job failed.
func (v *view[S, P]) conclude() error {
	v.result.Status = string(v.seen)
	if v.progress != nil {
		v.result.Progress = v.progress
	}
	v.print(string(v.seen), v.progress, v.Clock.Now())
	switch {
	case v.seen == "FAILED":
		var reason *api.Failure
		if v.progress != nil {
			reason = v.reason(v.progress)
		}
		return v.failed(v.invocation, reason, v.consequence, v.cure)
	case v.known(string(v.seen)):
		v.Streams.Next("%s", v.next[v.seen])
	default:
		v.Streams.Note("This version of the plugin does not know the status %q.", ui.Clean(string(v.seen)))
	}
	return nil
}
