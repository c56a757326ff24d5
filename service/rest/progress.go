package rest

import (
	"encoding/base64"
	"net/http"
	"strconv"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
)

const (
	limitDefault = 100
	limitMax     = 1000
)

func (s *server) replicationProgress(w http.ResponseWriter, r *http.Request, c call) error {
	limit := limitDefault
	if text := c.given.Get("limit"); text != "" {
		var err error
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > limitMax {
			return badRequest("Parameter 'limit' must be a number from 1 to %d", limitMax)
		}
	}
	after, err := base64.RawURLEncoding.DecodeString(c.given.Get("cursor"))
	if err != nil {
		return badRequest("Parameter 'cursor' is none that this service gave")
	}
	replication, err := s.Migrations.Replication(r.Context(), c.token, c.names)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, replicationProgress(replication, string(after), limit))
	return nil
}

// replicationProgress gives the tables that follow after in the order of schema and name.
func replicationProgress(r *migration.Replication, after string, limit int) api.ReplicationProgress {
	p := r.Progress
	if p == nil {
		p = &progress.Progress{Phase: "waiting"}
	}
	answer := api.ReplicationProgress{
		Status: api.ReplicationStatus(r.Status), Phase: string(p.Phase), Error: failure(r.Failure),
		Method: pointer(p.Method), MethodReason: pointer(p.MethodReason),
		StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt), EstimatedEnd: utc(p.EstimatedEnd),
		BytesCopied: p.BytesCopied, BytesTotal: p.BytesTotal, RowsCopied: p.RowsCopied, RowsTotal: p.RowsTotal,
		BytesPerSecond: pointer(p.BytesPerSecond), LagBytes: p.LagBytes, TransactionsApplied: pointer(p.TransactionsApplied),
		Warnings: append([]string{}, p.Warnings...), TablesTotal: len(p.Tables), Tables: []api.TableProgress{},
	}
	if p.LagSeconds != nil {
		seconds := float32(*p.LagSeconds)
		answer.LagSeconds = &seconds
	}
	switch r.Status {
	case migration.Failed:
		answer.Phase = "failed"
	case migration.Completed:
		answer.Phase = string(progress.Completed)
	}
	last := ""
	for _, t := range p.Tables {
		// NUL is in no name and comes before every character, so that this is the order of schema and name.
		key := t.Schema + "\x00" + t.Name
		if after != "" && key <= after {
			continue
		}
		if len(answer.Tables) == limit {
			next := base64.RawURLEncoding.EncodeToString([]byte(last))
			answer.NextCursor = &next
			break
		}
		last = key
		answer.Tables = append(answer.Tables, api.TableProgress{
			Schema: t.Schema, Name: t.Name, Phase: api.TablePhase(t.Phase), Validation: api.ValidationState(t.Verification),
			RowsCopied: t.RowsCopied, RowsTotal: t.RowsTotal, BytesCopied: t.BytesCopied, BytesTotal: t.BytesTotal,
			Inserts: t.Inserts, Updates: t.Updates, Deletes: t.Deletes,
		})
	}
	return answer
}

func (s *server) finalizationProgress(w http.ResponseWriter, r *http.Request, c call) error {
	f, err := s.Migrations.Finalization(r.Context(), c.token, c.names)
	if err != nil {
		return err
	}
	p := f.Progress
	if p == nil {
		p = &progress.FinalizationProgress{}
	}
	answer := api.FinalizationProgress{
		Status: api.FinalizationStatus(f.Status), Error: failure(f.Failure), StartedAt: utc(f.StartedAt), FinishedAt: utc(f.FinishedAt),
		FencedSeconds: pointer(float32(p.FencedSeconds)), Steps: []api.FinalizationStep{}, Verification: []api.TableVerification{},
	}
	for _, step := range p.Steps {
		out := api.FinalizationStep{Name: step.Name, StartedAt: step.StartedAt.UTC()}
		if step.Seconds != nil {
			out.Seconds = pointer(float32(*step.Seconds))
		}
		answer.Steps = append(answer.Steps, out)
	}
	for _, t := range p.Verification {
		answer.Verification = append(answer.Verification, api.TableVerification{
			Schema: t.Schema, Name: t.Name, Validation: api.ValidationState(t.State),
			SourceRows: t.SourceRows, TargetRows: t.TargetRows, SourceHash: t.SourceHash, TargetHash: t.TargetHash,
		})
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func failure(f *migration.Failure) *api.Failure {
	if f == nil {
		return nil
	}
	return &api.Failure{Code: f.Code, Message: f.Message, Hint: pointer(f.Hint)}
}

// pointer gives nil for the zero value, which the answer then leaves out.
func pointer[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
