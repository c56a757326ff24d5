package database

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// LockTableSetting is the setting of a server that a server without room for another lock names.
const LockTableSetting = "max_locks_per_transaction"

// LockTableFull says that a server has no room for another lock. The SQLSTATE, out_of_memory, is also that of a want that
// passes; this one comes again with every attempt, until the server is started with another setting, which its hint names
// in every language.
func LockTableFull(err *pgconn.PgError) bool {
	return err.Code == "53200" && strings.Contains(err.Hint, LockTableSetting)
}

// TransientCode says whether another attempt can help against a SQLSTATE (PostgreSQL manual, appendix A).
func TransientCode(code string) bool {
	switch code {
	case "55006", // object_in_use: an earlier session still reads the slot
		"55P03", // lock_not_available
		"57014", // query_canceled
		"25006", // read_only_sql_transaction: a standby that is not promoted yet
		"28P01", // invalid_password: a service key that is being rotated
		"28000": // invalid_authorization_specification
		return true
	}
	return OfServer(code)
}

// OfServer says whether a SQLSTATE speaks of the session or the server and not of what the statement asked for.
func OfServer(code string) bool {
	if len(code) != 5 {
		return false
	}
	switch code[:2] {
	case "08", "40", "53", "57", "58": // connection, rolled back, out of resources, operator, system
		return true
	}
	return false
}

// TransientConnection says whether an error is that of a connection that broke or could not be opened, or of a time limit.
func TransientConnection(err error) bool {
	var (
		network net.Error
		connect *pgconn.ConnectError
	)
	return errors.As(err, &network) || errors.As(err, &connect) || pgconn.SafeToRetry(err) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// Undecodable says whether the source fails in decoding a transaction. It looks for the table of a change in the catalog as of
// that transaction and does not find its file there: a fault of PostgreSQL's (10 to 18). It comes with a TRUNCATE that begins
// and commits while a slot is made and an older transaction is open. It fails in the same way each time it reads the slot.
func Undecodable(err *pgconn.PgError) bool {
	return err.Code == "XX000" && (strings.HasPrefix(err.Message, "could not map filenode ") || strings.HasPrefix(err.Message, "could not map filenumber ")) // from 16 on
}
