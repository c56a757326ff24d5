package migration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// What changes a status goes through these functions: they give the storage what the table says, and make a *TransitionError of
// its refusal.

// storeReplication stores how a replication stands; failure and progress are nil for none. Errors: *TransitionError,
// state.ErrLeaseLost.
func storeReplication(ctx context.Context, lease *state.Lease, to Status, failure *Failure, progress []byte) error {
	reason, err := encode(failure)
	if err != nil {
		return err
	}
	return refusal(ofReplication, to, lease.SaveReplication(ctx, replicationTo(to), reason, progress))
}

// storeFinalization stores how a finalization stands; failure and progress are nil for none. Errors: *TransitionError,
// state.ErrLeaseLost.
func storeFinalization(ctx context.Context, lease *state.Lease, to Status, failure *Failure, progress []byte) error {
	reason, err := encode(failure)
	if err != nil {
		return err
	}
	return refusal(ofFinalization, to, lease.SaveFinalization(ctx, finalizationTo(to), reason, progress))
}

// requestFinalization stores a new finalization. Error: *TransitionError.
func requestFinalization(ctx context.Context, store *state.Store, tx pgx.Tx, id string) error {
	return refusal(ofFinalization, Waiting, store.RequestFinalization(ctx, tx, id, finalizationTo(Waiting)))
}

// forgetFinalization removes a finalization that the user has given up, and none else. Errors: *TransitionError,
// state.ErrLeaseLost.
func forgetFinalization(ctx context.Context, lease *state.Lease) error {
	return refusal(ofFinalization, None, lease.ForgetFinalization(ctx, finalizationTo(None).From))
}

// dropFinalization removes a finalization that no worker is at. Error: *TransitionError.
func dropFinalization(ctx context.Context, store *state.Store, tx pgx.Tx, id string) error {
	return refusal(ofFinalization, None, store.DropFinalization(ctx, tx, id, finalizationTo(None).From))
}

// refusal tells the storage's refusal in the words of the table.
func refusal(of string, to Status, err error) error {
	var other *state.StatusError
	if !errors.As(err, &other) {
		return err
	}
	return fmt.Errorf("%w: %w", err, &TransitionError{Of: of, From: Status(other.Found), To: to})
}

func refused(err error) bool {
	var transition *TransitionError
	return errors.As(err, &transition)
}

func encode(f *Failure) ([]byte, error) {
	if f == nil {
		return nil, nil
	}
	text, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("storing a failure: %w", err)
	}
	return text, nil
}
