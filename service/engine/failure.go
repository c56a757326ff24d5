package engine

import "errors"

// Failure is an error that ends a replication or a finalization as FAILED. Its texts are for the user: they name the
// object and what to do, and hold no secret.
type Failure struct {
	Code    string // a word of capitals, for instance PREFLIGHT_CRITICAL
	Message string
	Hint    string // what the user can do; may be empty
	Err     error  // the cause; may be nil
	// Untouched says that nothing was made on either database, so that there is nothing to remove.
	Untouched bool
}

// The codes of a Failure.
const (
	CodePreflightCritical  = "PREFLIGHT_CRITICAL"
	CodeUnreachable        = "DATABASE_UNREACHABLE"
	CodeLoginRefused       = "LOGIN_REFUSED"
	CodeSlotLost           = "SLOT_LOST"
	CodeUndecodable        = "WAL_NOT_DECODABLE"
	CodeSourceReplaced     = "SOURCE_REPLACED"
	CodeSchemaCopy         = "SCHEMA_COPY"
	CodeSchemaChanged      = "SCHEMA_CHANGED"
	CodeDivergence         = "DIVERGENCE"
	CodeTakenOver          = "TAKEN_OVER"
	CodeFenceRefused       = "FENCE_REFUSED"
	CodeVerificationFailed = "VERIFICATION_FAILED"
	CodeDatabase           = "DATABASE_ERROR"
	CodeLargeObjectTaken   = "LARGE_OBJECT_TAKEN"
	CodeTimeout            = "TIMEOUT"
	CodeLockTableFull      = "LOCK_TABLE_FULL"
	CodeNotInSync          = "NOT_IN_SYNC"
)

// Error gives the message, which names the cause.
func (f *Failure) Error() string { return f.Message }

// Unwrap gives the cause.
func (f *Failure) Unwrap() error { return f.Err }

// AsFailure finds the Failure in err's chain; nil if there is none.
func AsFailure(err error) *Failure {
	var f *Failure
	if errors.As(err, &f) {
		return f
	}
	return nil
}
