// Package migration is the domain: what a migration is, what may follow what, and the durable jobs that drive it.
package migration

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// Failure is why something is FAILED, for the user.
type Failure struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	// Untouched says that nothing was made on either database, so that a removal needs neither.
	Untouched bool `json:"untouched,omitempty"`
}

// Replication is how a replication stands.
type Replication struct {
	Status     Status
	Failure    *Failure // of FAILED
	Progress   *progress.Progress
	StartedAt  *time.Time
	FinishedAt *time.Time
}

// Finalization is how a finalization stands.
type Finalization struct {
	Status     Status
	Failure    *Failure // of FAILED
	Progress   *progress.FinalizationProgress
	StartedAt  *time.Time
	FinishedAt *time.Time
}

// ConflictError says that the state does not allow what was asked.
type ConflictError struct{ Text string }

func (e *ConflictError) Error() string { return e.Text }

// NotFoundError says that there is no such replication or finalization. Code tells a client which.
type NotFoundError struct{ Code, Text string }

func (e *NotFoundError) Error() string { return e.Text }

// BusyError says that too much is asked of the service at once.
type BusyError struct{ Text string }

func (e *BusyError) Error() string { return e.Text }

var (
	errNoReplication  = &NotFoundError{Code: "REPLICATION_NOT_FOUND", Text: "There is no replication between these service instances; 'cf pg-migrate create-replication' starts one"}
	errNoFinalization = &NotFoundError{Code: "FINALIZATION_NOT_FOUND", Text: "There is no finalization between these service instances; 'cf pg-migrate create-finalization' starts one when the replication is IN-SYNC"}
)

// Access finds out what a caller may do.
type Access interface {
	Look(ctx context.Context, token string, names cloudfoundry.Names) (cloudfoundry.Access, error)
}

// Preflight checks two databases.
type Preflight interface {
	Preflight(ctx context.Context, source, target database.Database) (preflight.Report, error)
}

// Queue adds the job that drives a migration, in the transaction that gives it its reason.
type Queue interface {
	Enqueue(ctx context.Context, tx pgx.Tx, id string) error
}

const (
	preflightLimit = 10 * time.Minute
	preflightsMax  = 4
)

// Service is what the API offers. It is safe for concurrent use. Every method looks first whether the caller may read both
// service keys; its errors are those of cloudfoundry.Client.Look, *ConflictError, *NotFoundError and *BusyError.
type Service struct {
	access     Access
	preflight  Preflight
	store      *state.Store
	queue      Queue
	log        *slog.Logger
	preflights chan struct{}
}

// NewService puts the service together.
func NewService(access Access, check Preflight, store *state.Store, queue Queue, log *slog.Logger) *Service {
	return &Service{access: access, preflight: check, store: store, queue: queue, log: log, preflights: make(chan struct{}, preflightsMax)}
}

// credentials are what is sealed in a row.
type credentials struct {
	Source, Target database.Database
}

// PreflightCheck checks both databases.
func (s *Service) PreflightCheck(ctx context.Context, token string, names cloudfoundry.Names) (preflight.Report, error) {
	access, err := s.access.Look(ctx, token, names)
	if err != nil {
		return preflight.Report{}, err
	}
	select {
	case s.preflights <- struct{}{}:
		defer func() { <-s.preflights }()
	default:
		return preflight.Report{}, &BusyError{Text: "Too many preflight checks run at this moment; try again in a few seconds"}
	}
	ctx, cancel := context.WithTimeout(ctx, preflightLimit)
	defer cancel()
	report, err := s.preflight.Preflight(ctx, access.Source, access.Target)
	if err != nil {
		return preflight.Report{}, fmt.Errorf("making the preflight check: %w", err)
	}
	return report, nil
}

// CreateReplication stores a migration and the job that drives it.
func (s *Service) CreateReplication(ctx context.Context, token string, names cloudfoundry.Names) error {
	access, err := s.access.Look(ctx, token, names)
	if err != nil {
		return err
	}
	if access.SourceGUID == access.TargetGUID {
		return &ConflictError{Text: "Source and target are the same service instance"}
	}
	id, err := newID()
	if err != nil {
		return err
	}
	sealed, err := json.Marshal(credentials{access.Source, access.Target})
	if err != nil {
		return fmt.Errorf("storing credentials: %w", err)
	}
	m := &state.Migration{ID: id, SourceGUID: access.SourceGUID, TargetGUID: access.TargetGUID, Names: state.Names(names), ReplicationStatus: string(Waiting)}
	err = s.store.InTx(ctx, func(tx pgx.Tx) error {
		if err := s.store.Create(ctx, tx, m, sealed); err != nil {
			return err
		}
		if err := s.store.AddEvent(ctx, tx, id, "replication requested", ""); err != nil {
			return err
		}
		return s.queue.Enqueue(ctx, tx, id)
	})
	switch {
	case errors.Is(err, state.ErrExists):
		return &ConflictError{Text: "A replication between these service instances exists already; 'cf pg-migrate replication' shows it, 'cf pg-migrate delete-replication' removes it"}
	case errors.Is(err, state.ErrSourceTaken):
		return &ConflictError{Text: fmt.Sprintf("Service instance %q takes part in another migration, which must be deleted first", names.SourceInstance)}
	case errors.Is(err, state.ErrTargetTaken):
		return &ConflictError{Text: fmt.Sprintf("Service instance %q takes part in another migration, which must be deleted first", names.TargetInstance)}
	}
	return err
}

// Replication gives how the replication stands.
func (s *Service) Replication(ctx context.Context, token string, names cloudfoundry.Names) (*Replication, error) {
	m, err := s.find(ctx, token, names)
	if err != nil {
		return nil, err
	}
	r := &Replication{Status: Status(m.ReplicationStatus), StartedAt: m.StartedAt, FinishedAt: m.FinishedAt}
	if r.Failure, err = decode[Failure](m.ReplicationFailure); err != nil {
		return nil, err
	}
	r.Progress, err = decode[progress.Progress](m.ReplicationProgress)
	return r, err
}

// Finalization gives how the finalization stands.
func (s *Service) Finalization(ctx context.Context, token string, names cloudfoundry.Names) (*Finalization, error) {
	m, err := s.find(ctx, token, names)
	var none *NotFoundError
	if errors.As(err, &none) {
		return nil, errNoFinalization
	}
	if err != nil {
		return nil, err
	}
	if Status(m.FinalizationStatus) == None {
		return nil, errNoFinalization
	}
	f := &Finalization{Status: Status(m.FinalizationStatus), StartedAt: m.FinalizationStartedAt, FinishedAt: m.FinalizationFinishedAt}
	if f.Failure, err = decode[Failure](m.FinalizationFailure); err != nil {
		return nil, err
	}
	f.Progress, err = decode[progress.FinalizationProgress](m.FinalizationProgress)
	return f, err
}

// DeleteReplication asks for a migration to be stopped and removed.
func (s *Service) DeleteReplication(ctx context.Context, token string, names cloudfoundry.Names, cleanTarget bool) error {
	return s.change(ctx, token, names, true, func(tx pgx.Tx, m *state.Migration) error {
		if err := s.store.RequestRemoval(ctx, tx, m.ID, cleanTarget); err != nil {
			return err
		}
		if err := s.store.AddEvent(ctx, tx, m.ID, "removal requested", ""); err != nil {
			return err
		}
		return s.queue.Enqueue(ctx, tx, m.ID)
	})
}

// CreateFinalization asks for a migration to be finalized.
func (s *Service) CreateFinalization(ctx context.Context, token string, names cloudfoundry.Names) error {
	return s.change(ctx, token, names, false, func(tx pgx.Tx, m *state.Migration) error {
		switch {
		case m.RemovalRequested:
			return &ConflictError{Text: "The replication is being removed"}
		case checkFinalization(Status(m.FinalizationStatus), Waiting) != nil:
			return &ConflictError{Text: "A finalization exists already and is " + m.FinalizationStatus + "; 'cf pg-migrate finalization' shows it"}
		case !Status(m.ReplicationStatus).finalizable():
			return &ConflictError{Text: "The replication is " + m.ReplicationStatus + "; a finalization can start when it is IN-SYNC"}
		}
		if err := requestFinalization(ctx, s.store, tx, m.ID); err != nil {
			return err
		}
		return s.store.AddEvent(ctx, tx, m.ID, "finalization requested", "")
	})
}

// DeleteFinalization asks for a finalization to be given up, or removes one that failed.
func (s *Service) DeleteFinalization(ctx context.Context, token string, names cloudfoundry.Names) error {
	err := s.change(ctx, token, names, false, func(tx pgx.Tx, m *state.Migration) error {
		status := Status(m.FinalizationStatus)
		switch {
		case status == None:
			return errNoFinalization
		case checkFinalization(status, None) != nil, m.Opened:
			return &ConflictError{Text: "The finalization has completed and cannot be undone; 'cf pg-migrate delete-replication' removes what is left of the migration"}
		}
		if err := s.store.AddEvent(ctx, tx, m.ID, "finalization cancelled", ""); err != nil {
			return err
		}
		if !status.NeedsWorker() { // nothing is at work that could be stopped
			return dropFinalization(ctx, s.store, tx, m.ID)
		}
		return s.store.CancelFinalization(ctx, tx, m.ID)
	})
	if errors.Is(err, errNoReplication) {
		return errNoFinalization
	}
	return err
}

// find gives the caller's migration, and keeps its credentials as fresh as the service keys.
func (s *Service) find(ctx context.Context, token string, names cloudfoundry.Names) (*state.Migration, error) {
	access, err := s.access.Look(ctx, token, names)
	if err != nil {
		return nil, err
	}
	m, err := s.store.Find(ctx, access.SourceGUID, access.TargetGUID)
	if errors.Is(err, state.ErrNotFound) {
		return nil, errNoReplication
	}
	if err != nil {
		return nil, err
	}
	return m, s.refresh(ctx, m, names, access, false)
}

// refresh stores the credentials when they are others than before; removal says that they are needed even if the migration
// has completed.
func (s *Service) refresh(ctx context.Context, m *state.Migration, names cloudfoundry.Names, access cloudfoundry.Access, removal bool) error {
	now, err := json.Marshal(credentials{access.Source, access.Target})
	if err != nil {
		return fmt.Errorf("storing credentials: %w", err)
	}
	before, err := s.store.Credentials(ctx, m.ID)
	if err == nil && string(before) == string(now) {
		return nil
	}
	keep := where(func(r rule) bool { return !r.forgets })
	return s.store.SaveCredentials(ctx, m.ID, state.Names(names), now, keep, removal)
}

// change changes the caller's migration while its row is held; removal says that it will need its credentials again.
func (s *Service) change(ctx context.Context, token string, names cloudfoundry.Names, removal bool, do func(pgx.Tx, *state.Migration) error) error {
	access, err := s.access.Look(ctx, token, names)
	if err != nil {
		return err
	}
	m, err := s.store.Find(ctx, access.SourceGUID, access.TargetGUID)
	if errors.Is(err, state.ErrNotFound) {
		return errNoReplication
	}
	if err != nil {
		return err
	}
	if err := s.refresh(ctx, m, names, access, removal); err != nil {
		return err
	}
	return s.store.InTx(ctx, func(tx pgx.Tx) error {
		m, err := s.store.Lock(ctx, tx, access.SourceGUID, access.TargetGUID)
		if errors.Is(err, state.ErrNotFound) {
			return errNoReplication
		}
		if err != nil {
			return err
		}
		return do(tx, m)
	})
}

// idBytes gives 8 hexadecimal digits, which is what the names of the objects on the source have room for.
const idBytes = 4

func newID() (string, error) {
	id := make([]byte, idBytes)
	if _, err := rand.Read(id); err != nil {
		return "", fmt.Errorf("making an ID: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// decode reads stored JSON; nil stays nil.
func decode[T any](text []byte) (*T, error) {
	if text == nil {
		return nil, nil //nolint:nilnil // nothing is stored
	}
	value := new(T)
	if err := json.Unmarshal(text, value); err != nil {
		return nil, fmt.Errorf("reading the state of a migration: %w", err)
	}
	return value, nil
}
