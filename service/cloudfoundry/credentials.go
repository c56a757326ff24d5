package cloudfoundry

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

// TLSPolicy is how databases are connected to whose service key does not bring a certificate authority.
type TLSPolicy struct {
	Mode     database.TLSMode
	Roots    *x509.CertPool // nil: the system's
	RootsPEM string         // the same in PEM
}

// database reads a service key's credentials. Brokers name the parts in different ways; a part that has no field of its own
// is taken from the uri. Errors name the field and never a value.
func (p TLSPolicy) database(credentials map[string]any, what string) (database.Database, error) {
	uri := parseURI(text(credentials, "uri", "url", "database_uri", "connection_string"))
	sslmode := first(text(credentials, "sslmode"), uri.sslmode)
	d := database.Database{
		Host: first(text(credentials, "hostname", "host"), uri.host),
		// Some brokers call the instance "name", others the database.
		Name:     first(text(credentials, "dbname", "database", "db_name"), uri.database, text(credentials, "name")),
		User:     first(text(credentials, "username", "user"), uri.user),
		Password: first(text(credentials, "password"), uri.password),
	}
	for _, field := range []struct{ name, value string }{{"hostname", d.Host}, {"dbname", d.Name}, {"username", d.User}, {"password", d.Password}} {
		if field.value == "" {
			return database.Database{}, &UnusableKeyError{Text: fmt.Sprintf("The %s holds no %s, and no uri with one; is it a PostgreSQL service instance?", what, field.name)}
		}
	}
	port := first(text(credentials, "port"), uri.port, "5432")
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil || number == 0 {
		return database.Database{}, &UnusableKeyError{Text: fmt.Sprintf("The port in the %s is no number from 1 to %d", what, math.MaxUint16)}
	}
	d.Port = uint16(number)
	d.TLS = database.TLS{Mode: stricter(p.Mode, sslmode), Roots: p.Roots, RootsPEM: p.RootsPEM}
	if pem := text(credentials, "sslrootcert", "ca_certificate", "cacert", "ca_cert", "server_ca"); strings.Contains(pem, "BEGIN CERTIFICATE") {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(pem)) {
			return database.Database{}, &UnusableKeyError{Text: "The certificate authority in the " + what + " cannot be read"}
		}
		d.TLS = database.TLS{Mode: database.TLSVerifyFull, Roots: roots, RootsPEM: pem}
	} else if sslmode == "disable" && isLoopback(d.Host) {
		d.TLS.Mode = database.TLSDisable // nothing leaves the machine
	}
	return d, nil
}

// stricter gives the operator's mode, or what a key asks for if that is more.
func stricter(operators database.TLSMode, keys string) database.TLSMode {
	switch keys {
	case "verify-full", "verify-ca":
		return database.TLSVerifyFull
	case "require":
		if operators == database.TLSPrefer {
			return database.TLSRequire
		}
	}
	return operators
}

// text gives the first of the fields that is a text or a number.
func text(credentials map[string]any, fields ...string) string {
	for _, field := range fields {
		switch value := credentials[field].(type) {
		case string:
			if value != "" {
				return value
			}
		case float64:
			return strconv.FormatFloat(value, 'f', -1, 64)
		case json.Number:
			return value.String()
		}
	}
	return ""
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

type uriParts struct{ host, port, user, password, database, sslmode string }

func parseURI(text string) uriParts {
	u, err := url.Parse(text)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return uriParts{}
	}
	password, _ := u.User.Password()
	return uriParts{
		host: u.Hostname(), port: u.Port(), user: u.User.Username(), password: password,
		database: strings.TrimPrefix(u.Path, "/"), sslmode: u.Query().Get("sslmode"),
	}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
