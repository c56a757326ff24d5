package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// Trap 64: the source fails in the same way each time: to try again would be to try for ever.
func TestWALThatCannotBeDecodedEndsTheReplication(t *testing.T) {
	t.Parallel()
	for message, code := range map[string]failure.Code{
		`could not map filenode "base/16391/25231" to relation OID`:   failure.Undecodable, // to 15
		`could not map filenumber "base/16391/25231" to relation OID`: failure.Undecodable,
		`could not map something else`:                                failure.Database,
	} {
		f := classify(fmt.Errorf("reading the replication slot: %w", &pgconn.PgError{Code: "XX000", Message: message}))
		switch {
		case f == nil:
			t.Errorf("%s: tried again", message)
		case f.Code != code:
			t.Errorf("%s: code %s", message, f.Code)
		case code == failure.Undecodable && (!strings.Contains(f.Message, "PostgreSQL cannot decode") || !strings.Contains(f.Hint, "--clean-target")):
			t.Errorf("%s: %s %s", message, f.Message, f.Hint)
		}
	}
	if f := classify(&pgconn.PgError{Code: "57P01", Message: `could not map filenode "x"`}); f != nil {
		t.Errorf("a server that is shut down ends the replication: %v", f)
	}
}
