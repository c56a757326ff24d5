package commands

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

const (
	defaultInterval = 5 * time.Second
	leastInterval   = time.Second

	// patience is how long a run of failed reads is survived while waiting.
	patience = 5 * time.Minute
)

// errTimeout is the cause of a context that ended with --timeout.
var errTimeout = errors.New("the time is over")

// waiting holds --wait and the flags that go with it.
type waiting struct {
	wait     bool
	timeout  time.Duration // 0 for no limit
	interval time.Duration // 0 for the default
}

func (w *waiting) flags(until string) []Flag {
	return []Flag{
		switchFlag("wait", "", "Wait until it is "+until, &w.wait),
		{Name: "timeout", Value: "DURATION", Text: "With --wait: give up after this time, such as 30m or 2h; the job goes on", set: func(value string) error {
			return parseDuration("timeout", value, time.Nanosecond, &w.timeout)
		}},
		{Name: "poll-interval", Value: "DURATION", Text: "With --wait: time between two looks, at least 1s; default 5s", set: func(value string) error {
			return parseDuration("poll-interval", value, leastInterval, &w.interval)
		}},
	}
}

func parseDuration(flag, text string, least time.Duration, to *time.Duration) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return usageError("--%s %q is not a duration such as 90s, 30m or 2h.", flag, text)
	}
	if d < least {
		if least == leastInterval {
			return usageError("--%s has to be at least %s.", flag, least)
		}
		return usageError("--%s has to be more than zero.", flag)
	}
	*to = d
	return nil
}

// names refuses every name, and flags that mean nothing without --wait.
func (w *waiting) names(names []string) error {
	if err := noNames(names); err != nil {
		return err
	}
	switch {
	case w.wait:
		return nil
	case w.timeout != 0:
		return usageError("--timeout has a meaning with --wait only.")
	case w.interval != 0:
		return usageError("--poll-interval has a meaning with --wait only.")
	default:
		return nil
	}
}

// look reads the state of a job once, and tells whether the waiting is over.
type look func(ctx context.Context) (state ui.State, over bool, err error)

// until looks again and again until the waiting is over. job names what is waited for; again is the command that
// continues the wait. accepted tells that the service has answered well before.
func (w *waiting) until(ctx context.Context, i *invocation, job, again string, accepted bool, see look) error {
	interval := w.interval
	if interval == 0 {
		interval = defaultInterval
	}
	deadline := i.Clock.Now().Add(w.timeout)
	if w.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, w.timeout, errTimeout)
		defer cancel()
	}
	activity := i.Streams.Activity(i.Clock.Now)
	defer activity.Stop()

	var failingSince time.Time // zero while all is well
	for {
		state, over, err := see(ctx)
		now := i.Clock.Now()
		switch {
		case ctx.Err() != nil:
			return w.ended(ctx, job, again)
		case err == nil:
			activity.Show(state)
			if over {
				return nil
			}
			accepted, failingSince = true, time.Time{}
		case !survivable(err, accepted):
			return err
		case failingSince.IsZero():
			failingSince = now
			activity.Show(ui.State{Key: "unreadable", Line: "Trying again: " + ui.Clean(err.Error())})
		case now.Sub(failingSince) >= patience:
			failure := *i.describe(err)
			failure.Message = fmt.Sprintf("The status of the %s could not be read for %s. %s", job, now.Sub(failingSince).Round(time.Second), failure.Message)
			failure.Hint = fmt.Sprintf("The %s goes on if the service is well. Wait on with '%s'.", job, again)
			return &failure
		default:
			activity.Show(ui.State{Key: "unreadable", Line: "Trying again: " + ui.Clean(err.Error())})
		}
		pause := interval
		if w.timeout > 0 {
			if !now.Before(deadline) {
				return w.timedOut(job, again)
			}
			pause = min(pause, deadline.Sub(now))
		}
		if i.Clock.Sleep(ctx, pause) != nil {
			return w.ended(ctx, job, again)
		}
	}
}

// ended says why a wait stopped before its end.
func (w *waiting) ended(ctx context.Context, job, again string) error {
	if cause := context.Cause(ctx); !errors.Is(cause, errTimeout) {
		return cause
	}
	return w.timedOut(job, again)
}

func (w *waiting) timedOut(job, again string) error {
	return &Failure{
		Code:    Timeout,
		Message: fmt.Sprintf("Gave up waiting after %s. The %s goes on at the service.", w.timeout, job),
		Hint:    fmt.Sprintf("Wait on with '%s'.", again),
	}
}

// survivable tells whether a failed read may be followed by a good one. A wrong address is not survived as long as no
// answer ever came from it.
func survivable(err error, answered bool) bool {
	var token *TokenError
	if errors.As(err, &token) {
		return token.Temporary
	}
	var answer *client.Error
	if !errors.As(err, &answer) {
		return false
	}
	switch answer.Kind {
	case client.Unavailable:
		return answered || !answer.Untrusted()
	case client.NoService, client.BadResponse:
		return answered
	default:
		return false
	}
}
