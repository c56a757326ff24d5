package database

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/socket"
)

// connectTimeout bounds one attempt to open a connection, name look-up and TLS included.
const connectTimeout = 15 * time.Second

// Side is one of the two databases of a migration, as people call it.
type Side string

// The sides.
const (
	Source Side = "source"
	Target Side = "target"
)

// Dial opens an ordinary session, which the caller closes.
type Dial func(context.Context) (*pgx.Conn, error)

// DialReplication opens a session that knows the commands of logical replication, which the caller closes.
type DialReplication func(context.Context) (*pgconn.PgConn, error)

// Endpoint opens sessions with one database for one migration. It is safe for concurrent use.
type Endpoint struct {
	Database    Database
	Side        Side
	Application string // application_name of every session, so that an operator knows whose they are
	// NoRoom gets the side when its lock table is found full; may be nil.
	NoRoom *atomic.Pointer[Side]
}

// sessionParameters make the text of every value independent of what the database, the role or the service's environment
// set, on both sides alike, and keep our sessions from being ended by a time limit or fenced by our own fence. They go with
// the start-up packet, which outranks ALTER DATABASE and ALTER ROLE (PostgreSQL manual, 20.1.3).
func (e Endpoint) sessionParameters() map[string]string {
	return map[string]string{
		"application_name":                    e.Application,
		"client_encoding":                     "UTF8",
		"DateStyle":                           "ISO",
		"IntervalStyle":                       "postgres",
		"TimeZone":                            "UTC",
		"extra_float_digits":                  "3",
		"bytea_output":                        "hex",
		"lc_monetary":                         "C",
		"xmloption":                           "content",
		"standard_conforming_strings":         "on",
		"search_path":                         `""`,
		"row_security":                        "off",
		"statement_timeout":                   "0",
		"lock_timeout":                        "0",
		"idle_in_transaction_session_timeout": "0",
		"default_transaction_read_only":       "off",
		"default_transaction_isolation":       "read committed",
		"synchronous_commit":                  e.synchronousCommit(),
		"client_min_messages":                 "warning",
	}
}

// synchronousCommit makes our commits on the source wait for its own disk and not for standbys, which may be away. What the
// target has is waited for wherever its operator wants it to be.
func (e Endpoint) synchronousCommit() string {
	if e.Side == Source {
		return "local"
	}
	return "on"
}

func (e Endpoint) config() (*pgx.ConnConfig, error) {
	// Everything but the TLS mode is set on the parsed result: no quoting, and the password is in no string that an error could show.
	config, err := pgx.ParseConfig("host=set-below user=set-below dbname=set-below sslrootcert='' sslcert='' sslkey='' sslmode=" + string(e.Database.TLS.mode()))
	if err != nil {
		return nil, fmt.Errorf("preparing the connection to %s: %w", e.Database, err)
	}
	config.Host, config.Port = e.Database.Host, e.Database.Port
	config.Database, config.User, config.Password = e.Database.Name, e.Database.User, e.Database.Password
	config.ConnectTimeout = connectTimeout
	config.RuntimeParams = e.sessionParameters()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	onError := config.OnPgError
	config.OnPgError = func(conn *pgconn.PgConn, refused *pgconn.PgError) bool {
		e.watchRoom(refused)
		return onError(conn, refused)
	}
	socket.Prepare(&config.Config)
	e.addRoots(config.TLSConfig)
	for _, fallback := range config.Fallbacks {
		fallback.Host, fallback.Port = e.Database.Host, e.Database.Port
		e.addRoots(fallback.TLSConfig)
	}
	return config, nil
}

// watchRoom remembers the side of a full lock table, which the error does not name.
func (e Endpoint) watchRoom(err error) {
	var pg *pgconn.PgError
	if e.NoRoom != nil && errors.As(err, &pg) && LockTableFull(pg) {
		e.NoRoom.Store(&e.Side)
	}
}

func (e Endpoint) addRoots(config *tls.Config) {
	if config == nil {
		return
	}
	config.ServerName = e.Database.Host
	config.MinVersion = tls.VersionTLS12
	if e.Database.TLS.Roots != nil {
		config.RootCAs = e.Database.TLS.Roots
	}
}

// Connect opens an ordinary session. The caller closes it.
func (e Endpoint) Connect(ctx context.Context) (*pgx.Conn, error) {
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		e.watchRoom(err)
		return nil, fmt.Errorf("connecting to %s: %w", e.Database, err)
	}
	if _, err := conn.Exec(ctx, settleSQL); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("setting up the session with %s: %w", e.Database, err)
	}
	return conn, nil
}

// settleSQL sets what depends on the server. It turns off the time limits that only some versions have, and that a start-up
// packet to an older server must therefore not name: idle_session_timeout (14), transaction_timeout (17). The same holds for
// jit (11), which would compile what reads a large table for longer than that takes. And a database of encoding SQL_ASCII holds any
// bytes, which nobody may take for UTF-8: they are carried as they are.
const settleSQL = `
SELECT pg_catalog.set_config(name, CASE name WHEN 'client_encoding' THEN 'SQL_ASCII' ELSE '0' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('idle_session_timeout', 'transaction_timeout', 'jit')
   OR (name = 'client_encoding' AND pg_catalog.current_setting('server_encoding') = 'SQL_ASCII')`

// Encoding is the encoding of what a session sends and gets.
func Encoding(conn *pgx.Conn) string { return conn.PgConn().ParameterStatus("client_encoding") }

// ConnectReplication opens a session that speaks the streaming replication protocol, logical (PostgreSQL manual, 54.4).
// The caller closes it.
func (e Endpoint) ConnectReplication(ctx context.Context) (*pgconn.PgConn, error) {
	config, err := e.config()
	if err != nil {
		return nil, err
	}
	config.RuntimeParams["replication"] = "database"
	conn, err := pgconn.ConnectConfig(ctx, &config.Config)
	if err != nil {
		e.watchRoom(err)
		return nil, fmt.Errorf("connecting for replication to %s: %w", e.Database, err)
	}
	if _, err := conn.Exec(ctx, settleSQL).ReadAll(); err != nil {
		_ = conn.Close(ctx)
		return nil, fmt.Errorf("setting up the replication session with %s: %w", e.Database, err)
	}
	return conn, nil
}

// Close ends a session, also after ctx has ended. It takes a second at most.
func Close(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
