package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// create sends the request that starts a job. An answer that was lost is replaced by a look at what is there.
func (i *invocation) create(ctx context.Context, j job, send func(ctx context.Context) error) error {
	again := i.Program + " " + j.noun
	i.goesOn = fmt.Sprintf(" If the service has taken it on, the %s goes on. Look again with '%s'.", j.noun, again)
	err := send(ctx)
	var answer *client.Error
	switch {
	case err == nil:
	case ctx.Err() != nil || !errors.As(err, &answer):
		return err
	case answer.Kind == client.Conflict:
		return i.conflict(ctx, j, err)
	case !answer.Uncertain():
		return err
	default:
		if err := i.lostCreate(ctx, j, err); err != nil {
			return err
		}
	}
	i.result.Accepted = true
	i.goesOn = fmt.Sprintf(" The %s goes on at the service. Look again with '%s'.", j.noun, again)
	return nil
}

// lostCreate finds out whether a job exists after the answer to its creation was lost. nil means that it does.
func (i *invocation) lostCreate(ctx context.Context, j job, lost error) error {
	failure := *i.describe(lost)
	again := i.Program + " " + j.noun
	status, err := j.status(ctx)
	switch {
	case ctx.Err() != nil:
		return err
	case isMissing(err, j):
		failure.Message += fmt.Sprintf(" There is no %s now: the service has not taken it on.", j.noun)
		failure.Hint = fmt.Sprintf("Try again with '%s create-%s'.", i.Program, j.noun)
	case err != nil:
		failure.Message += " The service may have taken it on all the same: its state cannot be read, either."
		failure.Hint = fmt.Sprintf("Look with '%s' before you try again.", again)
	case status == "FAILED" || status == "COMPLETED":
		failure.Message += fmt.Sprintf(" The %s is %s now, which may be an earlier one.", j.noun, status)
		failure.Hint = fmt.Sprintf("Look with '%s'.", again)
	default:
		i.Streams.Note("The answer was lost (%v), but the %s is there: %s.", lost, j.noun, status)
		return nil
	}
	return &failure
}

// conflict adds to the service's refusal what is there.
func (i *invocation) conflict(ctx context.Context, j job, refused error) error {
	failure := *i.describe(refused)
	if status, err := j.status(ctx); err == nil {
		i.result.Status = status
		if !i.namesNext(failure.Message) {
			failure.Hint = fmt.Sprintf("Look with '%s %s'.", i.Program, j.noun)
		}
		failure.Message += fmt.Sprintf(" The %s is %s now.", j.noun, status)
	}
	return &failure
}

// deletion is what deleting a replication and a finalization have in common.
type deletion struct {
	waiting
	force bool
}

func (d *deletion) flags() []Flag {
	return append([]Flag{forceFlag(&d.force)}, d.waiting.flags("gone")...)
}

// canConfirm refuses a deletion that has to be confirmed where nobody can.
func (d *deletion) canConfirm(i *invocation) error {
	if d.force || i.Streams.Interactive() {
		return nil
	}
	return usageError("Without a terminal there is nobody to ask: %s needs --force (-f).", i.result.Command)
}

// confirm asks before something is deleted.
func (d *deletion) confirm(ctx context.Context, i *invocation, question string) error {
	if d.force {
		return nil
	}
	return i.confirm(ctx, question)
}

// confirm asks a question; any answer but yes is the error that ends the command.
func (i *invocation) confirm(ctx context.Context, question string) error {
	yes, err := i.Streams.Confirm(ctx, question)
	if err != nil {
		return err
	}
	if !yes {
		return &Failure{Code: Cancelled, Message: "Cancelled. Nothing was changed."}
	}
	return nil
}

// delete sends the request that removes a job, and waits until it is gone if that is asked for.
func (d *deletion) delete(ctx context.Context, i *invocation, j job, send func(ctx context.Context) error) error {
	again := fmt.Sprintf("%s delete-%s --wait", i.Program, j.noun)
	i.goesOn = fmt.Sprintf(" If the service has taken it on, the deletion goes on. Look again with '%s %s'.", i.Program, j.noun)
	gone := false
	err := send(ctx)
	var answer *client.Error
	switch {
	case err == nil:
		i.result.Accepted = true
	case ctx.Err() != nil || !errors.As(err, &answer):
		return err
	case isMissing(err, j):
		i.Streams.Note("There was no %s.", j.noun)
		gone = true
	case answer.Uncertain():
		if gone, err = i.lostDelete(ctx, j, err); err != nil {
			return err
		}
	default:
		return err
	}
	i.goesOn = fmt.Sprintf(" The deletion goes on at the service. Look again with '%s %s'.", i.Program, j.noun)
	if !gone && d.wait {
		if err := d.untilGone(ctx, i, j, again); err != nil {
			return err
		}
		gone = true
	}
	i.result.Deleted = &gone
	i.Streams.OK()
	return nil
}

// lostDelete finds out what became of a job after the answer to its deletion was lost.
func (i *invocation) lostDelete(ctx context.Context, j job, lost error) (gone bool, err error) {
	failure := *i.describe(lost)
	status, err := j.status(ctx)
	switch {
	case ctx.Err() != nil:
		return false, err
	case isMissing(err, j):
		i.Streams.Note("The answer was lost (%v), but the %s is gone.", lost, j.noun)
		return true, nil
	case err != nil:
		failure.Message += " The service may have taken it on all the same: its state cannot be read, either."
	default:
		failure.Message += fmt.Sprintf(" The service may have taken it on all the same: the %s is %s now.", j.noun, status)
	}
	failure.Hint = fmt.Sprintf("Look with '%s %s', and delete again if it stays.", i.Program, j.noun)
	return false, &failure
}

// untilGone waits until a job is not found any more.
func (d *deletion) untilGone(ctx context.Context, i *invocation, j job, again string) error {
	return d.until(ctx, i, "deletion of the "+j.noun, again, true, func(ctx context.Context) (state ui.State, over bool, err error) {
		status, err := j.status(ctx)
		if isMissing(err, j) {
			return ui.State{Key: "gone", Line: "gone"}, true, nil
		}
		if err != nil {
			return ui.State{}, false, err
		}
		if !j.known(status) {
			return ui.State{}, false, j.unknown(i, status)
		}
		return ui.State{Key: status, Line: "still there: " + status}, false, nil
	})
}
