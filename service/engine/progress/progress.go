// Package progress holds all that is known of a migration in this process, and gives copies of it to whoever asks.
package progress

import "time"

// Phase is where a replication stands, for people.
type Phase string

// The phases in their order.
const (
	Preparing  Phase = "preparing"
	Snapshot   Phase = "snapshot"
	Schema     Phase = "schema"
	Copying    Phase = "copying"
	Indexing   Phase = "indexing"
	CatchingUp Phase = "catching-up"
	InSync     Phase = "in-sync"
	Finalizing Phase = "finalizing"
	Completed  Phase = "completed"
)

// TablePhase is where one table stands.
type TablePhase string

// The phases of a table, spelled as in the API.
const (
	TablePending     TablePhase = "PENDING"
	TableCopying     TablePhase = "COPYING"
	TableIndexing    TablePhase = "INDEXING"
	TableReplicating TablePhase = "REPLICATING"
	TableDeferred    TablePhase = "DEFERRED" // copied in the finalization, under the fence
)

// Verification is what is known of the equality of one table's content on both sides.
type Verification string

// The states of verification, spelled as in the API.
const (
	NotVerified         Verification = "NOT_VALIDATED"
	VerificationPending Verification = "PENDING"    // is being verified
	Verified            Verification = "VALIDATED"  // was equal at one position of the source's WAL; changes since then are applied, and verified in the finalization
	Mismatched          Verification = "MISMATCHED" // differs; it is copied again
)

// Progress is a copy of a replication's state at one moment. It is stored as JSON.
type Progress struct {
	Phase               Phase           `json:"phase"`
	Method              string          `json:"method"`
	MethodReason        string          `json:"method_reason"`
	InSync              bool            `json:"in_sync"`
	BytesCopied         int64           `json:"bytes_copied"`
	BytesTotal          int64           `json:"bytes_total"` // estimated until the copy is over
	RowsCopied          int64           `json:"rows_copied"`
	RowsTotal           int64           `json:"rows_total"` // estimated until the copy is over
	BytesPerSecond      int64           `json:"bytes_per_second"`
	EstimatedEnd        *time.Time      `json:"estimated_end,omitempty"` // of the initial copy
	LagBytes            *int64          `json:"lag_bytes,omitempty"`     // WAL of the source that is not applied yet; nil: not known yet
	LagSeconds          *float64        `json:"lag_seconds,omitempty"`   // age of the newest change that is applied; nil: not known yet
	TransactionsApplied int64           `json:"transactions_applied"`
	Warnings            []string        `json:"warnings"`
	Tables              []TableProgress `json:"tables"` // sorted by schema and name
}

// TableProgress is the part of Progress that belongs to one table.
type TableProgress struct {
	Schema       string       `json:"schema"`
	Name         string       `json:"name"`
	Phase        TablePhase   `json:"phase"`
	RowsCopied   int64        `json:"rows_copied"`
	RowsTotal    int64        `json:"rows_total"`
	BytesCopied  int64        `json:"bytes_copied"`
	BytesTotal   int64        `json:"bytes_total"`
	Inserts      int64        `json:"inserts"`
	Updates      int64        `json:"updates"`
	Deletes      int64        `json:"deletes"`
	Verification Verification `json:"validation"`
}

// FinalizationProgress is a copy of a finalization's state at one moment. It is stored as JSON.
type FinalizationProgress struct {
	Steps         []Step              `json:"steps"`
	FencedSeconds float64             `json:"fenced_seconds"` // how long writes to the source were held back
	Verification  []TableVerification `json:"verification"`
}

// Step is one step of a finalization.
type Step struct {
	Name      string    `json:"name"`
	StartedAt time.Time `json:"started_at"`
	Seconds   *float64  `json:"seconds,omitempty"` // nil while the step runs
}

// TableVerification is the verification of one table's content on both sides at the same LSN.
type TableVerification struct {
	Schema     string       `json:"schema"`
	Name       string       `json:"name"`
	State      Verification `json:"validation"`
	SourceRows int64        `json:"source_rows"`
	TargetRows int64        `json:"target_rows"`
	SourceHash string       `json:"source_hash"`
	TargetHash string       `json:"target_hash"`
	// Online says that it was made before the fence, and that the table has not changed since.
	Online bool `json:"online"`
}
