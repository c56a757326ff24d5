// Package rest serves the migration API over HTTP: routing, validation against the contract, and problems.
package rest

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
)

// Migrations is what the API offers to a caller with a token.
type Migrations interface {
	PreflightCheck(ctx context.Context, token string, names cloudfoundry.Names) (preflight.Report, error)
	CreateReplication(ctx context.Context, token string, names cloudfoundry.Names) error
	Replication(ctx context.Context, token string, names cloudfoundry.Names) (*migration.Replication, error)
	DeleteReplication(ctx context.Context, token string, names cloudfoundry.Names, cleanTarget bool) error
	CreateFinalization(ctx context.Context, token string, names cloudfoundry.Names) error
	Finalization(ctx context.Context, token string, names cloudfoundry.Names) (*migration.Finalization, error)
	DeleteFinalization(ctx context.Context, token string, names cloudfoundry.Names) error
}

// Options are what the handler needs.
type Options struct {
	Migrations Migrations
	// Ready says whether the service can work.
	Ready func(context.Context) error
	Log   *slog.Logger
	// Observe is called after every request with its route, its status and how long it took; nil for none.
	Observe func(route string, status int, took time.Duration)
	// Requests is how many requests are served at once.
	Requests int
}

type server struct {
	Options
	places chan struct{}
}

// NewHandler gives the service's HTTP handler.
func NewHandler(o Options) http.Handler {
	s := &server{Options: o, places: make(chan struct{}, o.Requests)}
	routes := []struct {
		method, path string
		serve        http.HandlerFunc
	}{
		{http.MethodGet, "/v1/preflight-check", s.withNames(s.preflightCheck)},
		{http.MethodGet, "/v1/replication", s.withNames(s.replication)},
		{http.MethodPost, "/v1/replication", s.withBody(s.createReplication)},
		{http.MethodDelete, "/v1/replication", s.withBody(s.deleteReplication, "clean_target")},
		{http.MethodGet, "/v1/replication/progress", s.withNames(s.replicationProgress, "limit", "cursor")},
		{http.MethodGet, "/v1/finalization", s.withNames(s.finalization)},
		{http.MethodPost, "/v1/finalization", s.withBody(s.createFinalization)},
		{http.MethodDelete, "/v1/finalization", s.withBody(s.deleteFinalization)},
		{http.MethodGet, "/v1/finalization/progress", s.withNames(s.finalizationProgress)},
		{http.MethodGet, "/openapi.yaml", contract},
		{http.MethodGet, "/v1/openapi.yaml", contract},
		{http.MethodGet, "/healthz", healthy},
		{http.MethodGet, "/readyz", s.ready},
	}
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, route := range routes {
		mux.HandleFunc(route.method+" "+route.path, route.serve)
		allowed[route.path] = append(allowed[route.path], route.method)
	}
	for path, methods := range allowed {
		mux.HandleFunc(path, otherMethod(strings.Join(methods, ", ")))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeProblem(w, r, http.StatusNotFound, "NO_SUCH_ADDRESS", "There is nothing at this address; /v1/openapi.yaml describes the API")
	})
	return s.observed(s.limited(mux))
}

// otherMethod answers what is asked with a method that the address does not know.
func otherMethod(allowed string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allowed)
		writeProblem(w, r, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "This address knows "+allowed+" only; /v1/openapi.yaml describes the API")
	}
}

func healthy(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) }

func contract(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	_, _ = w.Write(api.Contract)
}

const readyLimit = 5 * time.Second

func (s *server) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyLimit)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		s.Log.Warn("not ready", "error", err)
		w.Header().Set("Retry-After", retryAfter)
		writeProblem(w, r, http.StatusServiceUnavailable, "UNAVAILABLE", "The service's own database does not answer")
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// call is a request that passed validation.
type call struct {
	token       string
	given       url.Values // the parameters that are texts, as they came
	names       cloudfoundry.Names
	cleanTarget bool
}

func (s *server) preflightCheck(w http.ResponseWriter, r *http.Request, c call) error {
	report, err := s.Migrations.PreflightCheck(r.Context(), c.token, c.names)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.PreflightCheck{
		SourceDatabaseIssues: api.DatabaseIssues{
			Critical: report.Texts(preflight.Source, preflight.Critical), Warning: report.Texts(preflight.Source, preflight.Warning),
		},
		TargetDatabaseIssues: api.DatabaseIssues{
			Critical: report.Texts(preflight.Target, preflight.Critical), Warning: report.Texts(preflight.Target, preflight.Warning),
		},
	})
	return nil
}

func (s *server) replication(w http.ResponseWriter, r *http.Request, c call) error {
	replication, err := s.Migrations.Replication(r.Context(), c.token, c.names)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Replication{Status: api.ReplicationStatus(replication.Status)})
	return nil
}

func (s *server) createReplication(w http.ResponseWriter, r *http.Request, c call) error {
	return accepted(w, "/v1/replication", c, s.Migrations.CreateReplication(r.Context(), c.token, c.names))
}

func (s *server) deleteReplication(w http.ResponseWriter, r *http.Request, c call) error {
	return accepted(w, "/v1/replication", c, s.Migrations.DeleteReplication(r.Context(), c.token, c.names, c.cleanTarget))
}

func (s *server) finalization(w http.ResponseWriter, r *http.Request, c call) error {
	finalization, err := s.Migrations.Finalization(r.Context(), c.token, c.names)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, api.Finalization{Status: api.FinalizationStatus(finalization.Status)})
	return nil
}

func (s *server) createFinalization(w http.ResponseWriter, r *http.Request, c call) error {
	return accepted(w, "/v1/finalization", c, s.Migrations.CreateFinalization(r.Context(), c.token, c.names))
}

func (s *server) deleteFinalization(w http.ResponseWriter, r *http.Request, c call) error {
	return accepted(w, "/v1/finalization", c, s.Migrations.DeleteFinalization(r.Context(), c.token, c.names))
}

// accepted answers 202 with a Location that can be polled as it is.
func accepted(w http.ResponseWriter, path string, c call, err error) error {
	if err != nil {
		return err
	}
	w.Header().Set("Location", path+"?"+c.given.Encode())
	w.WriteHeader(http.StatusAccepted)
	return nil
}
