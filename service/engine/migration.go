package engine

import (
	"context"
	"crypto/x509"
)

// Database says how to reach one PostgreSQL database as one login. It holds the password in the clear, so it is never
// printed: String, GoString and LogValue leave the password out.
type Database struct {
	Host     string
	Port     uint16
	Name     string
	User     string
	Password string
	TLS      TLS
}

// TLS is how a connection to a database is protected.
type TLS struct {
	Mode TLSMode
	// Roots are the certificate authorities that the server's certificate is checked against; nil means the system's.
	Roots *x509.CertPool `json:"-"`
	// RootsPEM is the same as Roots in PEM, for pg_dump, which reads a file. Empty means the system's.
	RootsPEM string
}

// Restore makes Roots of RootsPEM, for a TLS that was stored as JSON.
func (t *TLS) Restore() {
	if t.RootsPEM != "" {
		t.Roots = x509.NewCertPool()
		t.Roots.AppendCertsFromPEM([]byte(t.RootsPEM))
	}
}

// TLSMode is the operator's policy, with libpq's meaning of the words (PostgreSQL manual, 32.19.1).
type TLSMode string

// The policies, the strictest first.
const (
	TLSVerifyFull TLSMode = "verify-full" // encrypted, certificate and host name checked
	TLSRequire    TLSMode = "require"     // encrypted, nothing checked
	TLSPrefer     TLSMode = "prefer"      // encrypted if the server can
	TLSDisable    TLSMode = "disable"     // plain; for servers on loopback
)

// Migration is what the engine needs to know of one migration.
type Migration struct {
	// ID is 8 lower-case hex digits; it is part of the name of every object that the engine makes on the source.
	ID string
	// Epoch grows with every worker that takes the migration over. A worker with an older epoch can change nothing on
	// the target any more.
	Epoch int64
	// Databases gives the credentials; it is called again before every reconnection, so that a rotated service key is picked up.
	Databases func(context.Context) (source, target Database, err error)
	// Opened says that an earlier run of the finalization passed the point of no return (see Replication.Finalize): what is
	// left is to clean up.
	Opened bool
}
