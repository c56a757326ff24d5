// Package drift looks after changes of the source's schema during a migration: it finds them, judges whether rows mind them,
// and brings those over that they do not mind.
package drift

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/job"
)

const interval = 10 * time.Second

// Watch compares the schema of the source with the one that was copied, again and again, until ctx ends. A change that rows
// do not mind is a warning, and the finalization brings it over; another one is a *failure.Failure.
func Watch(ctx context.Context, j *job.Job, source catalog.Querier, copied catalog.Fingerprint) error {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	var seen string // stamp of the source's schema when it was compared last
	for {
		stamp, err := catalog.ReadStamp(ctx, source)
		if err != nil {
			return err
		}
		if stamp != seen {
			now, err := catalog.ReadFingerprint(ctx, source)
			if err != nil {
				return err
			}
			if err := judge(j, copied.Changes(now)); err != nil {
				return err
			}
			seen = stamp
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// judge warns of harmless changes and gives a failure for the others.
func judge(j *job.Job, changes []catalog.Change) error {
	if harmful := slices.DeleteFunc(slices.Clone(changes), catalog.Change.Harmless); len(harmful) > 0 {
		return &failure.Failure{
			Code:    failure.SchemaChanged,
			Message: "The schema of the source was changed during the replication: " + list(harmful),
			Hint:    "Undo the change and start again, or start again with the changed schema. " + failure.StartAgain,
		}
	}
	if len(changes) > 0 {
		j.Progress.Warn("The schema of the source was changed, which the finalization brings over: " + list(changes))
	}
	return nil
}

// namedChanges bounds the list in a message.
const namedChanges = 10

// list names some of the changes.
func list(changes []catalog.Change) string {
	var names []string
	for i, c := range changes {
		if i == namedChanges {
			names = append(names, fmt.Sprintf("and %d more", len(changes)-namedChanges))
			break
		}
		names = append(names, c.String())
	}
	return strings.Join(names, ", ")
}
