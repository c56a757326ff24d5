package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// settings are all that the environment says.
type settings struct {
	databaseURL       string
	sealer            *state.Sealer
	cfAPI             string
	skipSSLValidation bool
	listen            string
	metricsListen     string // empty: no metrics
	logLevel          slog.Level
	tls               cloudfoundry.TLSPolicy
	engine            engine.Settings
	migrations        int // driven at once by this instance
	requests          int // served at once
	instance          string
}

const (
	portDefault       = 8080
	migrationsDefault = 20
	requestsDefault   = 200
)

// readSettings reads the environment. Its errors name the variable, and never a value that is secret.
func readSettings(env func(string) string) (*settings, error) {
	s := &settings{engine: engine.Defaults()}
	var problems []error
	fail := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s %s", name, fmt.Sprintf(format, args...)))
	}
	number := func(name string, value, least int) int {
		text := env(name)
		if text == "" {
			return value
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < least {
			fail(name, "must be a number of at least %d", least)
		}
		return n
	}
	duration := func(name string, value time.Duration) time.Duration {
		text := env(name)
		if text == "" {
			return value
		}
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			fail(name, "must be a duration such as 90s or 2h")
		}
		return d
	}

	truth := func(name string) (value bool) {
		if text := env(name); text != "" {
			var err error
			if value, err = strconv.ParseBool(text); err != nil {
				fail(name, "must be true or false")
			}
		}
		return value
	}

	var err error
	if s.databaseURL = env("DATABASE_URL"); s.databaseURL == "" {
		if s.databaseURL, err = boundDatabase(env("VCAP_SERVICES")); err != nil {
			fail("DATABASE_URL", "is missing, and %v", err)
		}
	}
	if keys := env("PG_MIGRATE_KEYS"); keys == "" {
		fail("PG_MIGRATE_KEYS", "is missing: give a key that seals credentials, made by 'openssl rand -base64 32'")
	} else if s.sealer, err = state.NewSealer(keys); err != nil {
		fail("PG_MIGRATE_KEYS", "is wrong: %v", err)
	}
	s.cfAPI = env("CF_API")
	if u, err := url.Parse(s.cfAPI); err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || !loopback(u.Hostname()))) {
		fail("CF_API", "must be the address of the Cloud Controller, for instance https://api.cf.example.com")
	}
	s.skipSSLValidation = truth("CF_SKIP_SSL_VALIDATION")
	if s.listen = env("PG_MIGRATE_LISTEN"); s.listen == "" {
		s.listen = ":" + strconv.Itoa(number("PORT", portDefault, 1))
	}
	s.metricsListen = env("METRICS_LISTEN")
	for name, address := range map[string]string{"PG_MIGRATE_LISTEN": s.listen, "METRICS_LISTEN": s.metricsListen} {
		if _, _, err := net.SplitHostPort(address); address != "" && err != nil {
			fail(name, "must be HOST:PORT")
		}
	}
	if text := env("LOG_LEVEL"); text != "" {
		if err := s.logLevel.UnmarshalText([]byte(text)); err != nil {
			fail("LOG_LEVEL", "must be debug, info, warn or error")
		}
	}
	switch policy := env("DATABASE_TLS"); policy {
	case "", "strict":
		s.tls.Mode = database.TLSVerifyFull
	case "require":
		s.tls.Mode = database.TLSRequire
	case "prefer":
		s.tls.Mode = database.TLSPrefer
	default:
		fail("DATABASE_TLS", "must be strict, require or prefer")
	}
	if file := env("PGSSLROOTCERT"); file != "" {
		if err := s.readRoots(file); err != nil {
			fail("PGSSLROOTCERT", "%v", err)
		}
	}
	for name, program := range map[string]*string{"PG_DUMP": &s.engine.PgDump, "PG_RESTORE": &s.engine.PgRestore} {
		if path := env(name); path != "" {
			*program = path
		}
		if _, err := exec.LookPath(*program); err != nil {
			fail(name, "must be the path of a program of PostgreSQL 18: %v", err)
		}
	}
	s.engine.CopyWorkers = number("COPY_WORKERS", s.engine.CopyWorkers, 1)
	s.engine.IndexWorkers = number("INDEX_WORKERS", s.engine.IndexWorkers, 1)
	s.engine.FenceWait = duration("FENCE_WAIT", s.engine.FenceWait)
	s.engine.VerifyAll = truth("VERIFY_ALL")
	s.engine.FinalizationLimit = duration("FINALIZATION_LIMIT", s.engine.FinalizationLimit)
	s.engine.FenceLimit = duration("FENCE_LIMIT", s.engine.FenceLimit)
	switch method := env("OFFLINE_METHOD"); method {
	case "", "allow":
	case "refuse":
		s.engine.RefuseOffline = true
	default:
		fail("OFFLINE_METHOD", "must be allow or refuse")
	}
	s.migrations = number("MIGRATIONS_AT_ONCE", migrationsDefault, 1)
	s.requests = number("REQUESTS_AT_ONCE", requestsDefault, 1)
	s.instance = instanceName(env)
	return s, errors.Join(problems...)
}

func (s *settings) readRoots(file string) error {
	pem, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no certificate", file)
	}
	s.tls.Roots, s.tls.RootsPEM = roots, string(pem)
	return nil
}

// boundDatabase gives the uri of the one bound service that is a PostgreSQL database.
func boundDatabase(services string) (string, error) {
	var bound map[string][]struct {
		Credentials map[string]any `json:"credentials"`
	}
	if services != "" && json.Unmarshal([]byte(services), &bound) != nil {
		return "", errors.New("VCAP_SERVICES cannot be read")
	}
	var found []string
	for _, instances := range bound {
		for _, instance := range instances {
			if uri, ok := instance.Credentials["uri"].(string); ok && strings.HasPrefix(uri, "postgres") {
				found = append(found, uri)
			}
		}
	}
	switch len(found) {
	case 0:
		return "", errors.New("no PostgreSQL service is bound: give the database that keeps the state")
	case 1:
		return found[0], nil
	}
	return "", errors.New("several PostgreSQL services are bound: say which database keeps the state")
}

// instanceName is the name of this instance of the service in leases and in the log; two starts never have the same.
func instanceName(env func(string) string) string {
	name := env("CF_INSTANCE_GUID")
	if name == "" {
		name, _ = os.Hostname()
	}
	return fmt.Sprintf("%s/%d/%d", name, os.Getpid(), time.Now().UnixNano())
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || (ip != nil && ip.IsLoopback())
}
