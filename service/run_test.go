package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/logbook"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
)

const (
	major = 15
	token = "eyJ.the.token"
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

// address gives where a listener listens, when it does; empty before that.
func address(log *logbook.Book, listener string) string {
	lines := bufio.NewScanner(strings.NewReader(log.String()))
	for lines.Scan() {
		var line struct{ Msg, Listener, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" && line.Listener == listener {
			return line.Address
		}
	}
	return ""
}

// unreachable is a Cloud Controller whose service keys lead nowhere.
func unreachable(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Authorization") != "Bearer "+token {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if strings.HasSuffix(r.URL.Path, "/details") {
		_, _ = io.WriteString(w, `{"credentials": {"uri": "postgres://app:`+secret+`@127.0.0.1:1/app"}}`)
		return
	}
	name := r.URL.Query().Get("names")
	_, _ = io.WriteString(w, `{"resources": [{"guid": "guid-`+name+`", "name": "`+name+`"}]}`)
}

func eventually(t *testing.T, log *logbook.Book, what string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s\n%s", what, log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func ask(t *testing.T, method, address, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "bearer "+token)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestTheWholeService(t *testing.T) {
	t.Parallel()
	controller := httptest.NewServer(http.HandlerFunc(unreachable))
	t.Cleanup(controller.Close)
	database := postgres.ForTest(t, major).NewDatabase(t, false)
	environment := complete()
	for name, value := range map[string]string{
		"DATABASE_URL": database.URL(), "CF_API": controller.URL, "PG_MIGRATE_LISTEN": "127.0.0.1:0", "METRICS_LISTEN": "127.0.0.1:0", "LOG_LEVEL": "debug",
	} {
		environment[name] = value
	}
	s, err := read(environment)
	if err != nil {
		t.Fatal(err)
	}
	log := &logbook.Book{}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, s, slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: s.logLevel})))
	}()
	eventually(t, log, "it listens", func() bool { return address(log, "api") != "" && address(log, "metrics") != "" })
	base := "http://" + address(log, "api")

	for _, path := range []string{"/healthz", "/readyz", "/openapi.yaml"} {
		if status, text := ask(t, "GET", base+path, ""); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	names := map[string]string{
		"org": "acme", "space": "dev", "source_service_instance_name": "old", "target_service_instance_name": "new",
		"source_service_key_name": "k1", "target_service_key_name": "k2",
	}
	query := url.Values{}
	for name, value := range names {
		query.Set(name, value)
	}
	body, _ := json.Marshal(names)
	if status, text := ask(t, "GET", base+"/v1/preflight-check?"+query.Encode(), ""); status != http.StatusOK || !strings.Contains(text, "source database") {
		t.Errorf("preflight check: %d %s", status, text)
	}
	if status, text := ask(t, "POST", base+"/v1/replication", string(body)); status != http.StatusAccepted {
		t.Fatalf("create replication: %d %s", status, text)
	}
	eventually(t, log, "the replication fails", func() bool {
		_, text := ask(t, "GET", base+"/v1/replication?"+query.Encode(), "")
		return strings.TrimSpace(text) == `{"status":"FAILED"}`
	})
	status, progress := ask(t, "GET", base+"/v1/replication/progress?"+query.Encode(), "")
	if status != http.StatusOK || !strings.Contains(progress, "PREFLIGHT_CRITICAL") || strings.Contains(progress, secret) {
		t.Errorf("progress: %d %s", status, progress)
	}
	_, metrics := ask(t, "GET", "http://"+address(log, "metrics")+"/metrics", "")
	for _, line := range []string{
		`pg_migrate_migrations{status="FAILED"} 1`, "pg_migrate_copied_bytes 0", "pg_migrate_lag_bytes 0", "pg_migrate_takeovers_total",
		`pg_migrate_request_duration_seconds_count{route="POST /v1/replication",status="202"} 1`,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics have no %s", line)
		}
	}
	if status, _ := ask(t, "GET", base+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("the metrics are public: %d", status)
	}
	if status, text := ask(t, "DELETE", base+"/v1/replication", string(body)); status != http.StatusAccepted {
		t.Errorf("delete replication: %d %s", status, text)
	}

	began := time.Now()
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("stopping took %s", took)
	}
	for what, word := range map[string]string{
		"a service key's password": secret, "the token": token, "a sealing key": key, "the state database's password": database.Password,
	} {
		for place, text := range map[string]string{"log": log.String(), "metrics": metrics} {
			if strings.Contains(text, word) {
				t.Errorf("the %s holds %s", place, what)
			}
		}
	}
}

func TestAnAddressInUse(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	environment := complete()
	environment["DATABASE_URL"] = postgres.ForTest(t, major).NewDatabase(t, false).URL()
	environment["PG_MIGRATE_LISTEN"] = listener.Addr().String()
	s, err := read(environment)
	if err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), s, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "listening") {
		t.Errorf("%v", err)
	}
}
