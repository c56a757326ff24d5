package commands

import (
	"context"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/ui"
)

// busy shows that something goes on while work runs, which ends with the context.
func (i *invocation) busy(ctx context.Context, text string, work func(ctx context.Context) error) error {
	activity := i.Streams.Activity(i.Clock.Now)
	defer activity.Stop()
	done := make(chan error, 1)
	crash := make(chan any, 1)
	go func() {
		defer func() {
			if reason := recover(); reason != nil {
				crash <- reason
			}
		}()
		done <- work(ctx)
	}()

	started := i.Clock.Now()
	activity.Show(ui.State{Key: text, Line: text + "..."})
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case reason := <-crash:
			panic(reason) // where somebody recovers
		case <-tick.C:
			activity.Show(ui.State{Key: text, Line: text + ", " + ui.Duration(i.Clock.Now().Sub(started).Round(time.Second)) + " so far..."})
		}
	}
}
