package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/client"
	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
)

var names = api.Instances{
	Org: "acme", Space: "prod",
	SourceServiceInstanceName: "db-old", SourceServiceKeyName: "k1",
	TargetServiceInstanceName: "db-new", TargetServiceKeyName: "k2",
}

// tokens gives one token after the other, the last one again and again.
type tokens struct {
	list []string
	err  error
}

func (t *tokens) AccessToken(context.Context) (string, error) {
	if t.err != nil {
		return "", t.err
	}
	token := t.list[0]
	if len(t.list) > 1 {
		t.list = t.list[1:]
	}
	return token, nil
}

// start gives a scripted API, a client of it and the waits that the client made.
func start(t *testing.T, edit func(*client.Options)) (*clienttest.API, *client.Migrations, *[]time.Duration) {
	t.Helper()
	server := clienttest.Start()
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL)
	waits := &[]time.Duration{}
	options := client.Options{
		URL: u, Tokens: &tokens{list: []string{"secret-1"}}, UserAgent: "test/1",
		Sleep: func(_ context.Context, d time.Duration) error { *waits = append(*waits, d); return nil },
	}
	if edit != nil {
		edit(&options)
	}
	calls, err := client.NewMigrations(options)
	if err != nil {
		t.Fatal(err)
	}
	return server, calls, waits
}

func TestReadingSendsTheSixNames(t *testing.T) {
	server, calls, _ := start(t, nil)
	server.On("GET /v1/replication", clienttest.Status("IN-SYNC"))
	status, err := calls.Replication(t.Context(), names)
	if err != nil || status != "IN-SYNC" {
		t.Fatalf("got %q, %v", status, err)
	}
	request := server.Requests()[0]
	want := map[string][]string{
		"org": {"acme"}, "space": {"prod"}, "source_service_instance_name": {"db-old"}, "source_service_key_name": {"k1"},
		"target_service_instance_name": {"db-new"}, "target_service_key_name": {"k2"},
	}
	if !reflect.DeepEqual(request.Query, want) {
		t.Errorf("query %v", request.Query)
	}
	if got := request.Header.Get("Authorization"); got != "Bearer secret-1" {
		t.Errorf("authorization %q", got)
	}
	if got := request.Header.Get("User-Agent"); got != "test/1" {
		t.Errorf("user agent %q", got)
	}
}

func TestChangingSendsTheSixNames(t *testing.T) {
	want := map[string]any{
		"org": "acme", "space": "prod", "source_service_instance_name": "db-old", "source_service_key_name": "k1",
		"target_service_instance_name": "db-new", "target_service_key_name": "k2",
	}
	clean := map[string]any{"clean_target": true}
	for key, value := range want {
		clean[key] = value
	}
	for _, test := range []struct {
		line string
		call func(*client.Migrations) error
		want map[string]any
	}{
		{"POST /v1/replication", func(c *client.Migrations) error { return c.CreateReplication(t.Context(), names) }, want},
		{"POST /v1/finalization", func(c *client.Migrations) error { return c.CreateFinalization(t.Context(), names) }, want},
		{"DELETE /v1/finalization", func(c *client.Migrations) error { return c.DeleteFinalization(t.Context(), names) }, want},
		{"DELETE /v1/replication", func(c *client.Migrations) error { return c.DeleteReplication(t.Context(), names, false) }, want},
		{"DELETE /v1/replication", func(c *client.Migrations) error { return c.DeleteReplication(t.Context(), names, true) }, clean},
	} {
		server, calls, _ := start(t, nil)
		server.On(test.line, clienttest.Accepted())
		if err := test.call(calls); err != nil {
			t.Errorf("%s: %v", test.line, err)
		}
		request := server.Requests()[0]
		var got map[string]any
		if err := json.Unmarshal([]byte(request.Body), &got); err != nil || !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: body %s, %v", test.line, request.Body, err)
		}
		if request.Header.Get("Content-Type") != "application/json" || len(request.Query) > 0 {
			t.Errorf("%s: %v", test.line, request)
		}
	}
}

// TestAnswersThatAreNone takes nothing for an answer that is none (traps P29 and P31).
func TestAnswersThatAreNone(t *testing.T) {
	text := func(body string) clienttest.Answer {
		return clienttest.Answer{Status: 200, Type: "application/json", Body: body}
	}
	for name, test := range map[string]struct {
		answer clienttest.Answer
		kind   client.Kind
		sent   int // how often
		text   string
	}{
		"web page":         {clienttest.HTML(200), client.BadResponse, 1, "not an answer of this API"},
		"page as json":     {clienttest.Answer{Status: 200, Type: "application/json", Body: "<!DOCTYPE html><html></html>"}, client.BadResponse, 1, "not an answer"},
		"wrong type":       {clienttest.Answer{Status: 200, Type: "text/plain", Body: `{"status":"IN-SYNC"}`}, client.BadResponse, 1, "text/plain"},
		"empty":            {text(""), client.BadResponse, 1, "empty"},
		"cut off":          {clienttest.Truncated(), client.BadResponse, 4, "cut off"},
		"half a document":  {text(`{"status": "IN-`), client.BadResponse, 1, "not what was expected"},
		"no status":        {text(`{}`), client.BadResponse, 1, "status is missing"},
		"status a number":  {text(`{"status": 1}`), client.BadResponse, 1, "not what was expected"},
		"too large":        {clienttest.Large(5 << 20), client.BadResponse, 1, "larger than 4 MiB"},
		"redirect":         {clienttest.Redirect("https://login.example.com/x?token=1"), client.BadResponse, 1, "redirects to https://login.example.com, "},
		"no route":         {clienttest.NoRoute(), client.NoService, 1, "nothing is there"},
		"page for 404":     {clienttest.HTML(404), client.BadResponse, 1, "web page"},
		"not found":        {clienttest.Problem(404, "NOT_FOUND", "no replication"), client.NotFound, 1, "no replication (request req-1)"},
		"not authorized":   {clienttest.Problem(403, "FORBIDDEN", "no rights"), client.NotAuthorized, 1, "no rights"},
		"conflict":         {clienttest.Problem(409, "CONFLICT", "exists"), client.Conflict, 1, "exists"},
		"too many":         {clienttest.Problem(429, "BUSY", "later"), client.Unavailable, 4, "later"},
		"broken":           {clienttest.Problem(500, "INTERNAL", "sorry"), client.Unavailable, 1, "sorry"},
		"bad gateway":      {clienttest.HTML(502), client.Unavailable, 4, "502 Bad Gateway"},
		"plain text":       {clienttest.Answer{Status: 503, Type: "text/plain", Body: "asleep\n"}, client.Unavailable, 4, "asleep"},
		"bad request":      {clienttest.Problem(400, "BAD", "org is missing"), client.Refused, 1, "org is missing"},
		"too large for it": {clienttest.Problem(413, "LARGE", "too large"), client.Refused, 1, "too large"},
		"gone":             {clienttest.Reset(), client.Unavailable, 4, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			server, calls, _ := start(t, nil)
			server.On("GET /v1/replication", test.answer)
			_, err := calls.Replication(t.Context(), names)
			var failure *client.Error
			if !errors.As(err, &failure) {
				t.Fatalf("got %v", err)
			}
			if failure.Kind != test.kind || !strings.Contains(err.Error(), test.text) {
				t.Errorf("kind %d, %v", failure.Kind, err)
			}
			if sent := server.Asked("GET /v1/replication"); test.answer.Reset != (sent > test.sent) && sent != test.sent {
				t.Errorf("sent %d times", sent) // the transport repeats once more after a reset
			}
			if strings.Contains(err.Error(), "secret-1") || strings.Contains(err.Error(), "token=1") {
				t.Errorf("secret in %v", err)
			}
		})
	}
}

// TestReadingIsRepeated waits as long as the service asks for, within limits (trap P30).
func TestReadingIsRepeated(t *testing.T) {
	server, calls, waits := start(t, nil)
	later := clienttest.Problem(429, "BUSY", "later")
	later.Header = map[string]string{"Retry-After": "7"}
	endless := clienttest.Problem(503, "BUSY", "later")
	endless.Header = map[string]string{"Retry-After": "86400"}
	server.On("GET /v1/finalization", later, endless, clienttest.HTML(502), clienttest.Status("RUNNING"))
	status, err := calls.Finalization(t.Context(), names)
	if err != nil || status != "RUNNING" {
		t.Fatalf("got %q, %v", status, err)
	}
	if got := *waits; len(got) != 3 || got[0] != 7*time.Second || got[1] != time.Minute || got[2] < time.Second || got[2] > 2*time.Second {
		t.Errorf("waited %v", got)
	}
}

func TestRetryAfterMayBeADate(t *testing.T) {
	server, calls, waits := start(t, nil)
	later := clienttest.Problem(503, "BUSY", "later")
	later.Header = map[string]string{"Retry-After": time.Now().Add(20 * time.Second).UTC().Format(http.TimeFormat)}
	server.On("GET /v1/replication", later, clienttest.Status("RUNNING"))
	if _, err := calls.Replication(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	if got := (*waits)[0]; got < 15*time.Second || got > 20*time.Second {
		t.Errorf("waited %v", got)
	}
}

// TestChangesAreSentOnce: only reading is repeated (trap P28).
func TestChangesAreSentOnce(t *testing.T) {
	for name, test := range map[string]struct {
		answer    clienttest.Answer
		uncertain bool
	}{
		"reset":    {clienttest.Reset(), true},
		"502":      {clienttest.HTML(502), true},
		"503":      {clienttest.Problem(503, "BUSY", "later"), true},
		"429":      {clienttest.Problem(429, "BUSY", "later"), false},
		"409":      {clienttest.Problem(409, "CONFLICT", "exists"), false},
		"web page": {clienttest.HTML(200), true},
		"200":      {clienttest.Status("RUNNING"), true},
		"403":      {clienttest.Problem(403, "FORBIDDEN", "no"), false},
	} {
		t.Run(name, func(t *testing.T) {
			server, calls, waits := start(t, nil)
			server.On("POST /v1/replication", test.answer)
			err := calls.CreateReplication(t.Context(), names)
			var failure *client.Error
			if !errors.As(err, &failure) || failure.Uncertain() != test.uncertain {
				t.Errorf("got %v", err)
			}
			if n := server.Asked("POST /v1/replication"); n != 1 || len(*waits) > 0 {
				t.Errorf("sent %d times", n)
			}
		})
	}
}

func TestNobodyThereIsCertain(t *testing.T) {
	server, calls, _ := start(t, nil)
	server.Close()
	err := calls.CreateReplication(t.Context(), names)
	var failure *client.Error
	if !errors.As(err, &failure) || failure.Kind != client.Unavailable || failure.Uncertain() {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), "acme") {
		t.Errorf("query in %v", err)
	}
}

// TestARefusedTokenIsReplacedOnce asks cf for another token, and sends again only if there is one (traps P1 and P2).
func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	for _, status := range []int{401, 403} {
		for _, test := range []struct {
			tokens []string
			sent   int
			works  bool
		}{
			{[]string{"old", "new"}, 2, true},
			{[]string{"same", "same"}, 1, false},
		} {
			server, calls, _ := start(t, func(o *client.Options) { o.Tokens = &tokens{list: test.tokens} })
			server.On("POST /v1/replication", clienttest.Problem(status, "TOKEN", "expired"), clienttest.Accepted())
			err := calls.CreateReplication(t.Context(), names)
			if (err == nil) != test.works || server.Asked("POST /v1/replication") != test.sent {
				t.Errorf("%d %v: %v", status, test.tokens, err)
			}
		}
	}
}

func TestNoTokenNoRequest(t *testing.T) {
	dead := errors.New("dead")
	server, calls, _ := start(t, func(o *client.Options) { o.Tokens = &tokens{err: dead} })
	_, err := calls.Replication(t.Context(), names)
	if !errors.Is(err, dead) || len(server.Requests()) > 0 {
		t.Errorf("got %v", err)
	}
}

func TestACancelledCallEndsAtOnce(t *testing.T) {
	server, calls, _ := start(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	server.On("GET /v1/replication", clienttest.Answer{Status: 200, Delay: time.Minute, Before: func() { cancel(why) }})
	began := time.Now()
	_, err := calls.Replication(ctx, names)
	if !errors.Is(err, why) || time.Since(began) > 10*time.Second {
		t.Errorf("got %v", err)
	}
}

func TestPreflight(t *testing.T) {
	server, calls, _ := start(t, nil)
	server.On("GET /v1/preflight-check",
		clienttest.JSON(map[string]any{
			"sourceDatabaseIssues": map[string]any{"critical": []string{"a"}, "warning": []string{}, "more": 1},
			"targetDatabaseIssues": map[string]any{"critical": []string{}, "warning": []string{"b"}},
		}),
		clienttest.JSON(map[string]any{"sourceDatabaseIssues": map[string]any{"critical": []string{}, "warning": []string{}}}))
	check, err := calls.PreflightCheck(t.Context(), names)
	if err != nil || check.SourceDatabaseIssues.Critical[0] != "a" || check.TargetDatabaseIssues.Warning[0] != "b" {
		t.Errorf("got %v, %v", check, err)
	}
	if _, err = calls.PreflightCheck(t.Context(), names); err == nil || !strings.Contains(err.Error(), "a list of issues is missing") {
		t.Errorf("half a check passed: %v", err)
	}
}

func TestProgress(t *testing.T) {
	server, calls, _ := start(t, nil)
	server.On("GET /v1/replication/progress", clienttest.JSON(map[string]any{"status": "RUNNING", "phase": "copying"}), clienttest.JSON(map[string]any{}))
	server.On("GET /v1/finalization/progress", clienttest.JSON(map[string]any{"status": "RUNNING"}), clienttest.JSON(map[string]any{}))
	progress, err := calls.ReplicationProgress(t.Context(), names, 10, "here")
	if err != nil || progress.Phase != "copying" {
		t.Errorf("got %v, %v", progress, err)
	}
	if q := server.Requests()[0].Query; q["limit"][0] != "10" || q["cursor"][0] != "here" {
		t.Errorf("query %v", q)
	}
	if _, err := calls.FinalizationProgress(t.Context(), names); err != nil {
		t.Error(err)
	}
	if _, err := calls.ReplicationProgress(t.Context(), names, 10, ""); err == nil {
		t.Error("a progress without phase passed")
	}
	if _, err := calls.FinalizationProgress(t.Context(), names); err == nil {
		t.Error("a progress without status passed")
	}
}

// TestTraceHasNoSecrets: tokens and cookies are in no trace (trap P26).
func TestTraceHasNoSecrets(t *testing.T) {
	var trace bytes.Buffer
	server, calls, _ := start(t, func(o *client.Options) { o.Trace = &trace })
	answer := clienttest.Status("RUNNING")
	answer.Header = map[string]string{"Set-Cookie": "session=secret-2"}
	server.On("GET /v1/replication", answer, clienttest.Truncated(), clienttest.Large(5<<20))
	server.On("POST /v1/replication", clienttest.Accepted())
	if status, err := calls.Replication(t.Context(), names); err != nil || status != "RUNNING" {
		t.Fatalf("%q, %v", status, err)
	}
	if err := calls.CreateReplication(t.Context(), names); err != nil {
		t.Fatal(err)
	}
	if _, err := calls.Replication(t.Context(), names); err == nil {
		t.Error("the trace mends what was cut off")
	}
	text := trace.String()
	for _, want := range []string{"GET /v1/replication?", hidden, `{"status":"RUNNING"}`, "202 Accepted", `"source_service_key_name":"k1"`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("a secret is in the trace")
	}
}

const hidden = "[PRIVATE DATA HIDDEN]"

// TestTLS trusts the system, a CA of the user's own, or everybody if asked to (trap P37).
func TestTLS(t *testing.T) {
	server := clienttest.StartTLS()
	t.Cleanup(server.Close)
	server.On("GET /v1/replication", clienttest.Status("RUNNING"))
	u, _ := url.Parse(server.URL)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	for name, test := range map[string]struct {
		options client.Options
		works   bool
	}{
		"unknown CA": {client.Options{}, false},
		"own CA":     {client.Options{CACert: ca}, true},
		"skipped":    {client.Options{SkipSSLValidation: true}, true},
	} {
		test.options.URL, test.options.Tokens = u, &tokens{list: []string{"t"}}
		calls, err := client.NewMigrations(test.options)
		if err != nil {
			t.Fatal(err)
		}
		_, err = calls.Replication(t.Context(), names)
		if (err == nil) != test.works {
			t.Errorf("%s: %v", name, err)
		}
		var failure *client.Error
		if errors.As(err, &failure) && (!failure.Untrusted() || failure.Uncertain()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := client.NewMigrations(client.Options{URL: u, CACert: []byte("no certificate")}); err == nil {
		t.Error("nonsense passed for a CA")
	}
	if _, err := client.NewCloudController(client.Options{URL: u, CACert: []byte("no certificate")}); err == nil {
		t.Error("nonsense passed for a CA")
	}
}

func TestCloudController(t *testing.T) {
	server := clienttest.Start()
	t.Cleanup(server.Close)
	u, _ := url.Parse(server.URL + "/cf")
	cloud, err := client.NewCloudController(client.Options{URL: u, Tokens: &tokens{list: []string{"t"}}})
	if err != nil {
		t.Fatal(err)
	}
	server.On("GET /cf/v3/service_instances", clienttest.JSON(map[string]any{"resources": []map[string]string{{"guid": "g", "name": "a, b+%"}}}), clienttest.JSON(map[string]any{}))
	server.On("GET /cf/v3/service_credential_bindings", clienttest.Answer{
		Status: 401, Type: "application/json", Body: `{"errors":[{"code":1000,"title":"CF-InvalidAuthToken","detail":"Invalid Auth Token"}]}`,
		Header: map[string]string{"X-Vcap-Request-Id": "v-1"},
	})
	found, err := cloud.ServiceInstances(t.Context(), "space", "a, b+%")
	if err != nil || len(found) != 1 || found[0].GUID != "g" {
		t.Errorf("got %v, %v", found, err)
	}
	if q := server.Requests()[0].Query; q["names"][0] != "a%2C%20b%2B%25" || q["space_guids"][0] != "space" {
		t.Errorf("query %v", q)
	}
	if _, err := cloud.ServiceInstances(t.Context(), "space", ""); err == nil {
		t.Error("a list without resources passed")
	}
	_, err = cloud.ServiceKeys(t.Context(), "g", "k")
	var failure *client.Error
	if !errors.As(err, &failure) || failure.Kind != client.NotAuthorized || failure.RequestID != "v-1" || failure.Message != "Invalid Auth Token" {
		t.Errorf("got %v", err)
	}
	if q := server.Requests()[2].Query; q["type"][0] != "key" || q["service_instance_guids"][0] != "g" || q["names"][0] != "k" {
		t.Errorf("query %v", q)
	}
}

func TestErrorTexts(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":"unauthorized","error_description":"Bad credentials"}`: "Bad credentials",
		`{"error":"unauthorized"}`:                                       "unauthorized",
		`{"message":"no"}`:                                               "no",
		`{"title":"Teapot"}`:                                             "Teapot",
		`{"errors":[{"title":"CF-Bad"}]}`:                                "CF-Bad",
		`{}`:                                                             "answered 418",
		`not json`:                                                       "answered 418",
	} {
		server, calls, _ := start(t, nil)
		server.On("GET /v1/replication", clienttest.Answer{Status: 418, Type: "application/json", Body: body})
		if _, err := calls.Replication(t.Context(), names); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", body, err)
		}
	}
	server, calls, _ := start(t, nil)
	server.On("GET /v1/replication", clienttest.Answer{Status: 418, Type: "text/plain", Body: strings.Repeat("ü", 1000)})
	if _, err := calls.Replication(t.Context(), names); err == nil || len([]rune(err.Error())) > 400 {
		t.Errorf("%v", err)
	}
}

func TestSleepEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	cancel(why)
	if err := client.Sleep(ctx, time.Hour); !errors.Is(err, why) {
		t.Error(err)
	}
	if err := client.Sleep(t.Context(), time.Nanosecond); err != nil {
		t.Error(err)
	}
}
