package engine

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
)

var versionNumber = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// pgDumpVersion gives the major version of pg_dump, 0 when it cannot be run.
func (e *Engine) pgDumpVersion(ctx context.Context) int {
	out, err := exec.CommandContext(ctx, e.Settings.PgDump, "--version").Output()
	if err != nil {
		e.Log.Warn("pg_dump cannot be run", "path", e.Settings.PgDump, "error", err)
		return 0
	}
	m := versionNumber.FindSubmatch(out)
	if m == nil {
		return 0
	}
	major, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return major
}

// libpq gives the environment in which pg_dump reaches the database, and a function that removes the file with the
// certificates, if one was needed. The password is not in a file and not among the arguments.
func (e endpoint) libpq() (schema.Connection, func(), error) {
	d := e.database
	mode := d.TLS.Mode
	if mode == "" {
		mode = TLSVerifyFull
	}
	connection := schema.Connection{
		"PGHOST=" + d.Host,
		"PGPORT=" + strconv.Itoa(int(d.Port)),
		"PGDATABASE=" + d.Name,
		"PGUSER=" + d.User,
		"PGPASSWORD=" + d.Password,
		"PGSSLMODE=" + string(mode),
		"PGAPPNAME=" + e.application,
		"PGPASSFILE=" + os.DevNull,
		"PGSERVICEFILE=" + os.DevNull,
		"PGCONNECT_TIMEOUT=" + strconv.Itoa(int(connectTimeout.Seconds())),
	}
	if mode != TLSVerifyFull {
		return connection, func() {}, nil
	}
	if d.TLS.RootsPEM == "" {
		return append(connection, "PGSSLROOTCERT=system"), func() {}, nil
	}
	file, err := os.CreateTemp("", "pg-migrate-ca-*.pem")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the certificates for pg_dump: %w", err)
	}
	remove := func() { _ = os.Remove(file.Name()) }
	_, err = file.WriteString(d.TLS.RootsPEM)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("writing the certificates for pg_dump: %w", err)
	}
	return append(connection, "PGSSLROOTCERT="+file.Name()), remove, nil
}
