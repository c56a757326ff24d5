package main

import (
	"encoding/base64"
	"encoding/pem"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/database"
)

const secret = "hunter2-the-password"

var key = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// complete is an environment that has all that is needed and nothing else.
func complete() map[string]string {
	return map[string]string{
		"DATABASE_URL": "postgres://u:" + secret + "@h/d", "CF_API": "https://api.cf.example.com", "PG_MIGRATE_KEYS": key,
		"PG_DUMP": "/bin/true", "PG_RESTORE": "/bin/true",
	}
}

func read(environment map[string]string) (*settings, error) {
	return readSettings(func(name string) string { return environment[name] })
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	s, err := read(complete())
	if err != nil {
		t.Fatal(err)
	}
	if s.listen != ":8080" || s.metricsListen != "" || s.tls.Mode != database.TLSVerifyFull || s.skipSSLValidation || s.logLevel != slog.LevelInfo ||
		s.migrations != migrationsDefault || s.requests != requestsDefault || s.engine.FenceWait != time.Minute || s.engine.RefuseOffline || s.engine.VerifyAll {
		t.Errorf("%+v", s)
	}
	again, err := read(complete())
	if err != nil || again.instance == s.instance {
		t.Errorf("two starts have the name %s", s.instance)
	}
}

func TestEverySetting(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	roots := filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	environment := complete()
	maps.Copy(environment, map[string]string{
		"PORT": "9000", "METRICS_LISTEN": "127.0.0.1:9100", "DATABASE_TLS": "prefer", "PGSSLROOTCERT": roots, "CF_SKIP_SSL_VALIDATION": "true",
		"LOG_LEVEL": "debug", "COPY_WORKERS": "7", "INDEX_WORKERS": "3", "FENCE_WAIT": "90s", "FINALIZATION_LIMIT": "3h", "FENCE_LIMIT": "4m", "OFFLINE_METHOD": "refuse", "VERIFY_ALL": "true",
		"MIGRATIONS_AT_ONCE": "5", "REQUESTS_AT_ONCE": "6", "CF_INSTANCE_GUID": "guid-1",
	})
	s, err := read(environment)
	if err != nil {
		t.Fatal(err)
	}
	if s.listen != ":9000" || s.metricsListen != "127.0.0.1:9100" || s.tls.Mode != database.TLSPrefer || s.tls.Roots == nil || s.tls.RootsPEM == "" ||
		!s.skipSSLValidation || s.logLevel != slog.LevelDebug || s.engine.CopyWorkers != 7 || s.engine.IndexWorkers != 3 || s.engine.FenceWait != 90*time.Second ||
		s.engine.FinalizationLimit != 3*time.Hour || s.engine.FenceLimit != 4*time.Minute || !s.engine.RefuseOffline || !s.engine.VerifyAll || s.migrations != 5 || s.requests != 6 || !strings.HasPrefix(s.instance, "guid-1/") {
		t.Errorf("%+v", s)
	}
	environment["PG_MIGRATE_LISTEN"] = "127.0.0.1:9001"
	if s, err = read(environment); err != nil || s.listen != "127.0.0.1:9001" {
		t.Errorf("%v, %v", s, err)
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, value, text string }{
		{"DATABASE_URL", "", "no PostgreSQL service is bound"},
		{"PG_MIGRATE_KEYS", "", "openssl rand -base64 32"},
		{"PG_MIGRATE_KEYS", secret, "openssl rand -base64 32"},
		{"CF_API", "", "https://api."},
		{"CF_API", "api.cf.example.com", "https://api."},
		{"CF_API", "http://api.cf.example.com", "https://api."},
		{"CF_SKIP_SSL_VALIDATION", "perhaps", "true or false"},
		{"PORT", "http", "number"},
		{"OFFLINE_METHOD", "never", "allow or refuse"},
		{"PG_MIGRATE_LISTEN", "8080", "HOST:PORT"},
		{"METRICS_LISTEN", "9100", "HOST:PORT"},
		{"LOG_LEVEL", "loud", "debug"},
		{"DATABASE_TLS", "disable", "strict"},
		{"PGSSLROOTCERT", "/nowhere", "/nowhere"},
		{"PGSSLROOTCERT", "/dev/null", "certificate"},
		{"PG_DUMP", "/nowhere/pg_dump", "18"},
		{"PG_RESTORE", "/nowhere/pg_restore", "18"},
		{"COPY_WORKERS", "0", "at least 1"},
		{"INDEX_WORKERS", "x", "number"},
		{"FENCE_WAIT", "90", "duration"},
		{"FINALIZATION_LIMIT", "-1s", "duration"},
		{"FENCE_LIMIT", "soon", "duration"},
		{"VERIFY_ALL", "some", "true or false"},
		{"MIGRATIONS_AT_ONCE", "0", "at least 1"},
		{"REQUESTS_AT_ONCE", "many", "number"},
	} {
		environment := complete()
		environment[c.name] = c.value
		_, err := read(environment)
		if err == nil || !strings.HasPrefix(err.Error(), c.name+" ") || !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%s: %v", c.name, c.value, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error tells a secret: %v", c.name, err)
		}
	}
	_, err := read(map[string]string{"PG_DUMP": "/bin/true", "PG_RESTORE": "/bin/true"})
	for _, name := range []string{"DATABASE_URL", "CF_API", "PG_MIGRATE_KEYS"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("of an empty environment: %v", err)
		}
	}
}

func TestABoundDatabase(t *testing.T) {
	t.Parallel()
	const (
		mine  = `{"name": "state", "credentials": {"uri": "postgres://u:` + secret + `@h/d"}}`
		other = `{"name": "queue", "credentials": {"uri": "amqp://u:p@h"}}`
		none  = `{"name": "drain", "credentials": null}`
	)
	for services, want := range map[string]string{
		`{"postgresql": [` + mine + `], "rabbitmq": [` + other + `], "user-provided": [` + none + `]}`: "",
		`{"rabbitmq": [` + other + `]}`:                "no PostgreSQL service is bound",
		`{"postgresql": [` + mine + `, ` + mine + `]}`: "several PostgreSQL services",
		`{`: "VCAP_SERVICES",
	} {
		environment := complete()
		delete(environment, "DATABASE_URL")
		environment["VCAP_SERVICES"] = services
		s, err := read(environment)
		switch {
		case want == "" && (err != nil || s.databaseURL != "postgres://u:"+secret+"@h/d"):
			t.Errorf("%v", err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), secret)):
			t.Errorf("%v", err)
		}
	}
}
