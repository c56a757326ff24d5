package database

import (
	"fmt"
	"os"
	"strconv"
)

// Libpq gives the environment in which pg_dump reaches the database (PostgreSQL manual, 32.15), and a function that removes
// the file with the certificates, if one was needed. The password is not in a file and not among the arguments.
func (e Endpoint) Libpq() (environment []string, remove func(), err error) {
	d := e.Database
	mode := d.TLS.mode()
	environment = []string{
		"PGHOST=" + d.Host,
		"PGPORT=" + strconv.Itoa(int(d.Port)),
		"PGDATABASE=" + d.Name,
		"PGUSER=" + d.User,
		"PGPASSWORD=" + d.Password,
		"PGSSLMODE=" + string(mode),
		"PGAPPNAME=" + e.Application,
		"PGPASSFILE=" + os.DevNull,
		"PGSERVICEFILE=" + os.DevNull,
		"PGCONNECT_TIMEOUT=" + strconv.Itoa(int(connectTimeout.Seconds())),
	}
	if mode != TLSVerifyFull {
		return environment, func() {}, nil
	}
	if d.TLS.RootsPEM == "" {
		return append(environment, "PGSSLROOTCERT=system"), func() {}, nil
	}
	file, err := os.CreateTemp("", "pg-migrate-ca-*.pem")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the certificates for pg_dump: %w", err)
	}
	remove = func() { _ = os.Remove(file.Name()) }
	_, err = file.WriteString(d.TLS.RootsPEM)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		remove()
		return nil, nil, fmt.Errorf("writing the certificates for pg_dump: %w", err)
	}
	return append(environment, "PGSSLROOTCERT="+file.Name()), remove, nil
}
