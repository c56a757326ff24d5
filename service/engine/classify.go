package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/largeobject"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/stream"
)

// Errors that only end an attempt.
var (
	errFinalizing = errors.New("the stream stands still for the finalization")
	errMoved      = errors.New("tables were created, renamed or dropped on the source while the snapshot was taken")
	// errNotFinalized says that a finalization for which the stream stood still has failed.
	errNotFinalized = errors.New("the finalization failed")
)

const startAgain = "Run 'cf pg-migrate delete-replication --clean-target', then 'cf pg-migrate create-replication'."

// classify is classify for an error of this replication, of which more is known.
func (r *Replication) classify(err error) *Failure {
	var pg *pgconn.PgError
	if AsFailure(err) != nil || !errors.As(err, &pg) || !lockTableFull(pg) {
		return classify(err)
	}
	side := "target" // where the stream reads by itself what becomes of changes
	if known := r.noRoom.Load(); known != nil && !strings.Contains(err.Error(), "changes to the target") {
		side = *known
	}
	return lockTableFailure(side, err)
}

// classify is the one place that decides which error ends a migration: it gives the Failure, or nil where another attempt
// can help.
func classify(err error) *Failure {
	if f := AsFailure(err); f != nil {
		return f
	}
	var (
		difference *differenceError
		refused    *stream.RefusedError
		changed    *stream.SchemaChangedError
		taken      *largeobject.TakenError
		blocked    *fence.BlockedError
		pg         *pgconn.PgError
	)
	switch {
	case errors.Is(err, schema.ErrLockTableFull):
		return lockTableFailure("source", err)
	case errors.As(err, &difference):
		return &Failure{Code: CodeVerificationFailed, Message: "The content of tables differs between source and target: " + difference.Error(), Err: err, Hint: "The source is writable. Make sure that nothing else writes to the target. Tables are copied again once: run 'cf pg-migrate create-finalization' again when 'cf pg-migrate replication' shows IN-SYNC."}
	case errors.As(err, &refused):
		return &Failure{Code: CodeDivergence, Message: "A change could not be applied: " + err.Error(), Err: err, Hint: "Make sure that nothing else writes to the target. " + startAgain}
	case errors.As(err, &changed):
		return &Failure{Code: CodeSchemaChanged, Message: "The schema of the source was changed during the replication: " + err.Error(), Err: err, Hint: startAgain}
	case errors.As(err, &taken):
		return &Failure{Code: CodeLargeObjectTaken, Message: "Large objects could not be copied: " + err.Error(), Err: err, Hint: "Remove them from the target with lo_unlink, or use a new target. Then run 'cf pg-migrate create-finalization' again."}
	case errors.As(err, &blocked):
		return &Failure{Code: CodeFenceRefused, Message: "Writers could not be kept off the source: " + err.Error(), Err: err, Hint: "Stop the applications that are bound to the source, then run 'cf pg-migrate create-finalization' again."}
	case errors.Is(err, ledger.ErrTakenOver):
		return &Failure{Code: CodeTakenOver, Message: "Another worker has taken over this migration: " + err.Error(), Err: err}
	case errors.Is(err, ledger.ErrForeign):
		return &Failure{Code: CodeDatabase, Message: "The target belongs to another migration: " + err.Error(), Err: err, Hint: "Delete the other replication with --clean-target, or use a new target service instance."}
	case errors.Is(err, stream.ErrNotAdvanced), errors.Is(err, snapshot.ErrRewritten), errors.Is(err, errMoved), errors.Is(err, errNoMoment):
		return nil
	case errors.As(err, &pg):
		if transientCode(pg.Code) {
			return nil
		}
		if undecodable(pg) {
			return &Failure{
				Code:    CodeUndecodable,
				Message: "PostgreSQL cannot decode the WAL of the source at this place, and no reader of the replication slot gets past it: " + err.Error(),
				Hint:    startAgain + " Meanwhile avoid TRUNCATE, and what else rewrites tables, on the source, above all until the copy has begun; DELETE is safe.",
				Err:     err,
			}
		}
		return &Failure{Code: CodeDatabase, Message: "A database refused a statement: " + err.Error(), Err: err, Hint: "Mend the cause, or ask the operator of the service. " + startAgain}
	case transientConnection(err):
		return nil
	}
	return &Failure{Code: CodeDatabase, Message: "The migration cannot go on: " + err.Error(), Err: err, Hint: startAgain}
}

// lockTableFull says that a server has no room for another lock. The SQLSTATE, out_of_memory, is also that of a want that
// passes; this one comes again with every attempt, until the server is started with another setting, which its hint names
// in every language.
func lockTableFull(err *pgconn.PgError) bool {
	return err.Code == "53200" && strings.Contains(err.Hint, schema.LockTableSetting)
}

func lockTableFailure(side string, err error) *Failure {
	return &Failure{
		Code:    CodeLockTableFull,
		Message: "The " + side + " has no room for more locks: " + err.Error(),
		Err:     err,
		Hint: "Have " + schema.LockTableSetting + " of the " + side + " raised; 'cf pg-migrate preflight-check' shows what is needed. " +
			"Then run 'cf pg-migrate create-finalization' again, or, if the replication has failed, delete it with --clean-target and create it again.",
	}
}

// transientCode says whether another attempt can help against a SQLSTATE (PostgreSQL manual, appendix A).
func transientCode(code string) bool {
	switch code {
	case "55006", // object_in_use: an earlier session still reads the slot
		"55P03", // lock_not_available
		"57014", // query_canceled
		"25006", // read_only_sql_transaction: a standby that is not promoted yet
		"28P01", // invalid_password: a service key that is being rotated
		"28000": // invalid_authorization_specification
		return true
	}
	switch code[:2] {
	case "08", "40", "53", "57", "58": // connection, rolled back, out of resources, operator, system
		return true
	}
	return false
}

// undecodable says whether the source fails in decoding a transaction. It looks for the table of a change in the catalog as of
// that transaction and does not find its file there: a fault of PostgreSQL's (10 to 18). It comes with a TRUNCATE that begins
// and commits while a slot is made and an older transaction is open. It fails in the same way each time it reads the slot.
func undecodable(pg *pgconn.PgError) bool {
	return pg.Code == "XX000" && (strings.HasPrefix(pg.Message, "could not map filenode ") || strings.HasPrefix(pg.Message, "could not map filenumber ")) // from 16 on
}

func transientConnection(err error) bool {
	var (
		network net.Error
		connect *pgconn.ConnectError
	)
	return errors.As(err, &network) || errors.As(err, &connect) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) ||
		strings.Contains(err.Error(), "conn closed") || strings.Contains(err.Error(), "conn busy") ||
		strings.Contains(err.Error(), "the source ended the stream") ||
		strings.Contains(err.Error(), "deadlock detected") // pg_dump, which locks all tables at once, gives no SQLSTATE
}

// unreachable makes the Failure of a database that did not come back.
func unreachable(err error) *Failure {
	f := &Failure{
		Code:    CodeUnreachable,
		Message: "A database could not be reached for too long: " + err.Error(),
		Err:     err,
		Hint:    "Check both service instances and both service keys. The replication slot on the source is kept: delete the replication if it is not wanted any more.",
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28") {
		f.Code, f.Message = CodeLoginRefused, "A database refuses the login of its service key: "+err.Error()
		f.Hint = "Make sure that the service keys are valid, then " + strings.ToLower(startAgain[:1]) + startAgain[1:]
	}
	return f
}

// brief gives an error without the names of hosts and logins that pgconn puts into it, for the user's list of warnings.
func brief(err error) string {
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
