package client

import (
	"cmp"
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
)

// preflightTimeout is the time for a preflight check, which looks at two whole databases before it answers.
const preflightTimeout = 10 * time.Minute

// Migrations is the migration API. It may be used by several goroutines at once. Its errors are of type [*Error],
// or come from the source of the tokens.
type Migrations struct{ sender *sender }

// NewMigrations makes the API at an address. It sends nothing yet.
func NewMigrations(options Options) (*Migrations, error) {
	s, err := newSender(options)
	if err != nil {
		return nil, err
	}
	return &Migrations{s}, nil
}

// PreflightCheck has both databases checked. It may take minutes.
func (c *Migrations) PreflightCheck(ctx context.Context, m api.Instances) (api.PreflightCheck, error) {
	r := get("get the preflight check", m, "v1", "preflight-check")
	r.timeout = preflightTimeout
	return read(ctx, c.sender, r, func(check api.PreflightCheck) string {
		for _, issues := range []api.DatabaseIssues{check.SourceDatabaseIssues, check.TargetDatabaseIssues} {
			if issues.Critical == nil || issues.Warning == nil {
				return "a list of issues is missing"
			}
		}
		return ""
	})
}

// Replication gives the status of the replication, which may be one that this package does not know.
func (c *Migrations) Replication(ctx context.Context, m api.Instances) (string, error) {
	return c.status(ctx, get("get the replication", m, "v1", "replication"))
}

// Finalization gives the status of the finalization, which may be one that this package does not know.
func (c *Migrations) Finalization(ctx context.Context, m api.Instances) (string, error) {
	return c.status(ctx, get("get the finalization", m, "v1", "finalization"))
}

// status reads the one attribute that both resources have.
func (c *Migrations) status(ctx context.Context, r request) (string, error) {
	type resource struct {
		Status string `json:"status"`
	}
	answer, err := read(ctx, c.sender, r, func(answer resource) string { return missing("status", answer.Status) })
	return answer.Status, err
}

// CreateReplication starts the replication. The request is sent once.
func (c *Migrations) CreateReplication(ctx context.Context, m api.Instances) error {
	return c.change(ctx, request{doing: "create the replication", method: http.MethodPost, path: []string{"v1", "replication"}, body: m})
}

// CreateFinalization starts the finalization. The request is sent once.
func (c *Migrations) CreateFinalization(ctx context.Context, m api.Instances) error {
	return c.change(ctx, request{doing: "create the finalization", method: http.MethodPost, path: []string{"v1", "finalization"}, body: m})
}

// DeleteReplication begins to remove the replication, and with cleanTarget what it made in the target, too. The
// request is sent once.
func (c *Migrations) DeleteReplication(ctx context.Context, m api.Instances, cleanTarget bool) error {
	// api.DeleteReplicationRequest, without a list of the names.
	body := struct {
		api.Instances
		CleanTarget bool `json:"clean_target,omitempty"` // left out unless it is wanted: not every service knows it
	}{m, cleanTarget}
	return c.change(ctx, request{doing: "delete the replication", method: http.MethodDelete, path: []string{"v1", "replication"}, body: body})
}

// DeleteFinalization begins to remove the finalization. The request is sent once.
func (c *Migrations) DeleteFinalization(ctx context.Context, m api.Instances) error {
	return c.change(ctx, request{doing: "delete the finalization", method: http.MethodDelete, path: []string{"v1", "finalization"}, body: m})
}

// change sends a request that changes something.
func (c *Migrations) change(ctx context.Context, r request) error {
	r.accept = []int{http.StatusAccepted}
	if r.method == http.MethodDelete {
		r.accept = append(r.accept, http.StatusOK, http.StatusNoContent) // the published API leaves it open
	}
	_, err := c.sender.send(ctx, r)
	return err
}

// ReplicationProgress gives the progress with at most limit tables, from the cursor on that the page before ended
// with; the first page has an empty one. Not every service has it: those answer [NotFound].
func (c *Migrations) ReplicationProgress(ctx context.Context, m api.Instances, limit int, cursor string) (api.ReplicationProgress, error) {
	r := get("get the progress of the replication", m, "v1", "replication", "progress")
	r.query["limit"] = strconv.Itoa(limit)
	if cursor != "" {
		r.query["cursor"] = cursor
	}
	return read(ctx, c.sender, r, func(p api.ReplicationProgress) string {
		return cmp.Or(missing("status", string(p.Status)), missing("phase", p.Phase))
	})
}

// FinalizationProgress gives the steps of the finalization and its verification. Not every service has it: those
// answer [NotFound].
func (c *Migrations) FinalizationProgress(ctx context.Context, m api.Instances) (api.FinalizationProgress, error) {
	r := get("get the progress of the finalization", m, "v1", "finalization", "progress")
	return read(ctx, c.sender, r, func(p api.FinalizationProgress) string { return missing("status", string(p.Status)) })
}

// missing says that a required field is empty.
func missing(name, value string) string {
	if value != "" {
		return ""
	}
	return name + " is missing"
}

// get is the request that reads a resource of a migration.
func get(doing string, m api.Instances, path ...string) request {
	return request{
		doing:  doing,
		method: http.MethodGet,
		path:   path,
		accept: []int{http.StatusOK},
		query: map[string]string{
			"org":                          m.Org,
			"space":                        m.Space,
			"source_service_instance_name": m.SourceServiceInstanceName,
			"source_service_key_name":      m.SourceServiceKeyName,
			"target_service_instance_name": m.TargetServiceInstanceName,
			"target_service_key_name":      m.TargetServiceKeyName,
		},
	}
}
