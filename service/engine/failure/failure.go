// Package failure is how the engine says that a migration cannot go on: a code for scripts, and texts for people.
package failure

import (
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Failure is an error that ends a replication or a finalization as FAILED. Its texts are for the user: they name the
// object and what to do, and hold no secret.
type Failure struct {
	Code    Code
	Message string
	Hint    string // what the user can do; may be empty
	Err     error  // the cause; may be nil
	// Untouched says that nothing was made on either database, so that there is nothing to remove.
	Untouched bool
}

// Code is a word of capitals that scripts may decide on.
type Code string

// The codes of a Failure.
const (
	PreflightCritical  Code = "PREFLIGHT_CRITICAL"
	Unreachable        Code = "DATABASE_UNREACHABLE"
	LoginRefused       Code = "LOGIN_REFUSED"
	SlotLost           Code = "SLOT_LOST"
	Undecodable        Code = "WAL_NOT_DECODABLE"
	SourceReplaced     Code = "SOURCE_REPLACED"
	TargetReplaced     Code = "TARGET_REPLACED"
	SchemaCopy         Code = "SCHEMA_COPY"
	SchemaChanged      Code = "SCHEMA_CHANGED"
	Divergence         Code = "DIVERGENCE"
	TakenOver          Code = "TAKEN_OVER"
	FenceRefused       Code = "FENCE_REFUSED"
	VerificationFailed Code = "VERIFICATION_FAILED"
	Database           Code = "DATABASE_ERROR"
	LargeObjectTaken   Code = "LARGE_OBJECT_TAKEN"
	Timeout            Code = "TIMEOUT"
	LockTableFull      Code = "LOCK_TABLE_FULL"
	NotInSync          Code = "NOT_IN_SYNC"
)

// Hints that several failures share.
const (
	StartAgain    = "Run 'cf pg-migrate delete-replication --clean-target', then 'cf pg-migrate create-replication'."
	FinalizeAgain = "Run 'cf pg-migrate create-finalization' again."
)

// Error gives the message, which names the cause.
func (f *Failure) Error() string { return f.Message }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// Of finds the Failure in err's chain; nil if there is none.
func Of(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return nil
}

// Brief gives an error without the names of hosts and logins that pgconn puts into it, for the user's list of warnings.
func Brief(err error) string {
	var pg *pgconn.PgError
	var connect *pgconn.ConnectError
	switch {
	case errors.As(err, &pg):
		return fmt.Sprintf("%s (SQLSTATE %s)", pg.Message, pg.Code)
	case errors.As(err, &connect):
		return "a database could not be reached"
	}
	return err.Error()
}
