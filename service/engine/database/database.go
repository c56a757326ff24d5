// Package database says how a database is reached, and opens sessions with it that are all alike whatever the server, the
// database or the role sets.
package database

import (
	"crypto/x509"
	"fmt"
	"log/slog"
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

// String describes the database without its password.
func (d Database) String() string {
	return fmt.Sprintf("database %q at %s:%d as %q", d.Name, d.Host, d.Port, d.User)
}

// GoString is String, so that %#v cannot show the password either.
func (d Database) GoString() string { return d.String() }

// LogValue is String for slog.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.String()) }

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

// mode is the policy, the strictest unless another one is set.
func (t TLS) mode() TLSMode {
	if t.Mode == "" {
		return TLSVerifyFull
	}
	return t.Mode
}
