package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
)

// job is the replication or the finalization, as far as reading, creating and deleting them is the same.
type job struct {
	noun string // "replication"

	// status reads the status, which may be one that known refuses.
	status func(ctx context.Context) (string, error)
	known  func(status string) bool
}

// replication is the job that carries the data.
func (m *migration) replication() job {
	return job{
		noun:   "replication",
		status: func(ctx context.Context) (string, error) { return m.Replication(ctx, m.names) },
		known:  func(status string) bool { return api.ReplicationStatus(status).Valid() },
	}
}

// finalization is the job that ends a migration.
func (m *migration) finalization() job {
	return job{
		noun:   "finalization",
		status: func(ctx context.Context) (string, error) { return m.Finalization(ctx, m.names) },
		known:  func(status string) bool { return api.FinalizationStatus(status).Valid() },
	}
}

// unknown says that the service gave a status that this version of the plugin cannot judge.
func (j job) unknown(i *invocation, status string) *Failure {
	return &Failure{
		Code:    UnknownStatus,
		Message: fmt.Sprintf("The %s has the status %q, which this version of the plugin does not know.", j.noun, status),
		Hint:    fmt.Sprintf("Look again with '%s %s', or install a newer version of the plugin.", i.Program, j.noun),
	}
}

// failed says why a job is FAILED. reason is nil where the service does not tell; consequence says what that means for
// the source, cure what to do unless the service knows better.
func (j job) failed(i *invocation, reason *api.Failure, consequence, cure string) *Failure {
	f := &Failure{Code: MigrationFailed, Message: fmt.Sprintf("The %s failed.", j.noun), Hint: consequence + " " + cure}
	if reason == nil {
		return f
	}
	f.Message = ended(fmt.Sprintf("The %s failed: %s", j.noun, reason.Message))
	switch {
	case reason.Hint == nil || *reason.Hint == "":
	case i.namesNext(*reason.Hint):
		f.Hint = consequence + " " + *reason.Hint
	default:
		f.Hint = consequence + " " + *reason.Hint + " " + cure
	}
	return f
}

// isMissing tells whether the service says that there is no such job. 404 is also its answer where an org, a space, an
// instance or a key is missing, and must not pass for that.
func isMissing(err error, j job) bool {
	var answer *client.Error
	if !errors.As(err, &answer) || answer.Kind != client.NotFound {
		return false
	}
	return answer.Code == "" || answer.Code == string(NotFound) || strings.Contains(answer.Code, strings.ToUpper(j.noun))
}

// withCure says what to do about a job that is not there.
func (i *invocation) withCure(err error, j job) error {
	if !isMissing(err, j) {
		return err
	}
	failure := *i.describe(err)
	if i.namesNext(failure.Message) {
		return &failure
	}
	failure.Hint = fmt.Sprintf("Create one with '%s create-%s'.", i.Program, j.noun)
	return &failure
}
