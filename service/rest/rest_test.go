package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/logbook"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/cloudfoundry"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/progress"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/rest"
)

const secretToken = "eyJ-very-secret"

var allNames = cloudfoundry.Names{
	Org: "acme & sons", Space: "dev",
	SourceInstance: "db-old", SourceKey: "k1", TargetInstance: "db-new", TargetKey: "k2",
}

func allParameters() map[string]string {
	return map[string]string{
		"org": allNames.Org, "space": allNames.Space,
		"source_service_instance_name": allNames.SourceInstance, "target_service_instance_name": allNames.TargetInstance,
		"source_service_key_name": allNames.SourceKey, "target_service_key_name": allNames.TargetKey,
	}
}

func queryOf(parameters map[string]string) string {
	query := url.Values{}
	for name, value := range parameters {
		query.Set(name, value)
	}
	return query.Encode()
}

func bodyOf(t *testing.T, parameters map[string]string) string {
	t.Helper()
	body, err := json.Marshal(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// scripted answers as it is told to, and remembers what it was asked.
type scripted struct {
	err          error
	report       preflight.Report
	replication  migration.Replication
	finalization migration.Finalization
	wait         func(context.Context) // called by PreflightCheck; may be nil

	mu          sync.Mutex // guards what follows
	calls       []string
	token       string
	names       cloudfoundry.Names
	cleanTarget bool
}

func (s *scripted) called(call, token string, names cloudfoundry.Names) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, call)
	s.token, s.names = token, names
	return s.err
}

func (s *scripted) PreflightCheck(ctx context.Context, token string, names cloudfoundry.Names) (preflight.Report, error) {
	if s.wait != nil {
		s.wait(ctx)
	}
	return s.report, s.called("PreflightCheck", token, names)
}

func (s *scripted) CreateReplication(_ context.Context, token string, names cloudfoundry.Names) error {
	return s.called("CreateReplication", token, names)
}

func (s *scripted) Replication(_ context.Context, token string, names cloudfoundry.Names) (*migration.Replication, error) {
	return &s.replication, s.called("Replication", token, names)
}

func (s *scripted) DeleteReplication(_ context.Context, token string, names cloudfoundry.Names, cleanTarget bool) error {
	s.cleanTarget = cleanTarget
	return s.called("DeleteReplication", token, names)
}

func (s *scripted) CreateFinalization(_ context.Context, token string, names cloudfoundry.Names) error {
	return s.called("CreateFinalization", token, names)
}

func (s *scripted) Finalization(_ context.Context, token string, names cloudfoundry.Names) (*migration.Finalization, error) {
	return &s.finalization, s.called("Finalization", token, names)
}

func (s *scripted) DeleteFinalization(_ context.Context, token string, names cloudfoundry.Names) error {
	return s.called("DeleteFinalization", token, names)
}

// newHandler gives the handler in front of what is scripted, and its log at debug level.
func newHandler(s *scripted) (http.Handler, *logbook.Book) {
	log := &logbook.Book{}
	return rest.NewHandler(rest.Options{
		Migrations: s,
		Ready:      func(context.Context) error { return nil },
		Log:        log.Logger(),
		Requests:   10,
	}), log
}

// request is one request; parts that are not given are those of a valid one.
type request struct {
	method, path string
	query        string
	body         string
	header       map[string]string
}

func (r request) send(t *testing.T, handler http.Handler) *httptest.ResponseRecorder {
	t.Helper()
	query, body := r.query, r.body
	target := r.path
	if r.method == http.MethodGet {
		if query == "" {
			query = queryOf(allParameters())
		}
		target += "?" + query
	} else if body == "" {
		body = bodyOf(t, allParameters())
	}
	sent := httptest.NewRequestWithContext(t.Context(), r.method, target, strings.NewReader(body))
	sent.Header.Set("Authorization", "Bearer "+secretToken)
	if r.method != http.MethodGet {
		sent.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
	for name, value := range r.header {
		sent.Header.Del(name)
		if value != "" {
			sent.Header.Set(name, value)
		}
	}
	answer := httptest.NewRecorder()
	handler.ServeHTTP(answer, sent)
	return answer
}

func problemOf(t *testing.T, answer *httptest.ResponseRecorder) api.Problem {
	t.Helper()
	var problem api.Problem
	if err := json.Unmarshal(answer.Body.Bytes(), &problem); err != nil {
		t.Fatalf("%v\n%s", err, answer.Body)
	}
	return problem
}

func TestEveryRequestOfTheContract(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	for _, c := range []struct {
		method, path, call string
		status             int
		body               string
	}{
		{"GET", "/v1/preflight-check", "PreflightCheck", 200, `{"sourceDatabaseIssues":{"critical":["bad"],"warning":[]},"targetDatabaseIssues":{"critical":[],"warning":["odd"]}}`},
		{"GET", "/v1/replication", "Replication", 200, `{"status":"IN-SYNC"}`},
		{"POST", "/v1/replication", "CreateReplication", 202, ""},
		{"DELETE", "/v1/replication", "DeleteReplication", 202, ""},
		{"GET", "/v1/finalization", "Finalization", 200, `{"status":"RUNNING"}`},
		{"POST", "/v1/finalization", "CreateFinalization", 202, ""},
		{"DELETE", "/v1/finalization", "DeleteFinalization", 202, ""},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			t.Parallel()
			s := &scripted{
				report: preflight.Report{Findings: []preflight.Finding{
					{Side: preflight.Source, Severity: preflight.Critical, Text: "bad"}, {Side: preflight.Target, Severity: preflight.Warning, Text: "odd"},
				}},
				replication:  migration.Replication{Status: migration.InSync},
				finalization: migration.Finalization{Status: migration.Running},
			}
			handler, _ := newHandler(s)
			answer := request{method: c.method, path: c.path}.send(t, handler)
			contract.check(t, c.method, c.path, answer)
			if answer.Code != c.status || strings.TrimSpace(answer.Body.String()) != c.body {
				t.Errorf("%d %s", answer.Code, answer.Body)
			}
			if len(s.calls) != 1 || s.calls[0] != c.call || s.token != secretToken || s.names != allNames {
				t.Errorf("asked were %v with %q and %+v", s.calls, s.token, s.names)
			}
			if c.status != http.StatusAccepted {
				return
			}
			location, err := url.Parse(answer.Header().Get("Location"))
			if err != nil || location.Path != c.path {
				t.Fatalf("Location %q: %v", answer.Header().Get("Location"), err)
			}
			polled := request{method: "GET", path: location.Path, query: location.RawQuery}.send(t, handler)
			if polled.Code != http.StatusOK || s.names != allNames {
				t.Errorf("the Location gives %d for %+v", polled.Code, s.names)
			}
		})
	}
}

func TestCleanTarget(t *testing.T) {
	t.Parallel()
	for member, want := range map[string]int{`true`: 202, `false`: 202, `"true"`: 400, `null`: 400, `1`: 400} {
		s := &scripted{}
		handler, _ := newHandler(s)
		body := strings.TrimSuffix(bodyOf(t, allParameters()), "}") + `,"clean_target":` + member + `}`
		answer := request{method: "DELETE", path: "/v1/replication", body: body}.send(t, handler)
		if answer.Code != want || s.cleanTarget != (member == "true") {
			t.Errorf("clean_target %s: %d, asked for %t", member, answer.Code, s.cleanTarget)
		}
	}
}

func TestParametersOfTheQuery(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	for _, path := range []string{"/v1/preflight-check", "/v1/replication", "/v1/finalization", "/v1/replication/progress", "/v1/finalization/progress"} {
		for name := range allParameters() {
			for what, change := range map[string]func(url.Values){
				"missing": func(q url.Values) { q.Del(name) },
				"empty":   func(q url.Values) { q.Set(name, "") },
				"blank":   func(q url.Values) { q.Set(name, " \t") },
				"twice":   func(q url.Values) { q.Add(name, "again") },
			} {
				query, _ := url.ParseQuery(queryOf(allParameters()))
				change(query)
				s := &scripted{}
				handler, _ := newHandler(s)
				answer := request{method: "GET", path: path, query: query.Encode()}.send(t, handler)
				contract.check(t, "GET", path, answer)
				if problem := problemOf(t, answer); answer.Code != http.StatusBadRequest || problem.Code != "BAD_REQUEST" || !strings.Contains(problem.Detail, "'"+name+"'") {
					t.Errorf("%s: %s %s: %+v", path, name, what, problem)
				}
				if len(s.calls) > 0 {
					t.Errorf("%s: %s %s went through", path, name, what)
				}
			}
		}
		handler, _ := newHandler(&scripted{})
		for query, word := range map[string]string{queryOf(allParameters()) + "&verbose=1": "'verbose'", "%zz=1": "query", "a;b": "query"} {
			if problem := problemOf(t, request{method: "GET", path: path, query: query}.send(t, handler)); problem.Status != http.StatusBadRequest || !strings.Contains(problem.Detail, word) {
				t.Errorf("%s?%s: %+v", path, query, problem)
			}
		}
	}
}

func TestBodies(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	valid := bodyOf(t, allParameters())
	long := allParameters()
	long["org"] = strings.Repeat("x", 65<<10)
	type body struct {
		text, detail string
		status       int
	}
	bodies := []body{
		{"{", "JSON", 400},
		{"[]", "JSON", 400},
		{"null", "JSON", 400},
		{`"text"`, "JSON", 400},
		{valid + "{}", "JSON", 400},
		{valid[:len(valid)-1] + `,"org":"again"}`, "'org'", 400},
		{valid[:len(valid)-1] + `,"verbose":1}`, "'verbose'", 400},
		{strings.Replace(valid, `"dev"`, `null`, 1), "'space'", 400},
		{strings.Replace(valid, `"dev"`, `7`, 1), "'space'", 400},
		{bodyOf(t, long), "larger", 413},
	}
	for name := range allParameters() {
		missing, empty := allParameters(), allParameters()
		delete(missing, name)
		empty[name] = ""
		bodies = append(bodies, body{bodyOf(t, missing), "'" + name + "'", 400}, body{bodyOf(t, empty), "'" + name + "'", 400})
	}
	for _, line := range []string{"POST /v1/replication", "DELETE /v1/replication", "POST /v1/finalization", "DELETE /v1/finalization"} {
		method, path, _ := strings.Cut(line, " ")
		for _, b := range bodies {
			s := &scripted{}
			handler, _ := newHandler(s)
			answer := request{method: method, path: path, body: b.text}.send(t, handler)
			contract.check(t, method, path, answer)
			if problem := problemOf(t, answer); answer.Code != b.status || !strings.Contains(problem.Detail, b.detail) {
				t.Errorf("%s with %.60s: %+v", line, b.text, problem)
			}
			if len(s.calls) > 0 {
				t.Errorf("%s with %.60s went through", line, b.text)
			}
		}
		for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json;;"} {
			handler, _ := newHandler(&scripted{})
			answer := request{method: method, path: path, header: map[string]string{"Content-Type": kind}}.send(t, handler)
			contract.check(t, method, path, answer)
			if answer.Code != http.StatusUnsupportedMediaType {
				t.Errorf("%s as %q: %d", line, kind, answer.Code)
			}
		}
	}
	// Only the replication knows what to clean.
	handler, _ := newHandler(&scripted{})
	answer := request{method: "DELETE", path: "/v1/finalization", body: valid[:len(valid)-1] + `,"clean_target":true}`}.send(t, handler)
	if answer.Code != http.StatusBadRequest || !strings.Contains(problemOf(t, answer).Detail, "'clean_target'") {
		t.Errorf("clean_target of a finalization: %d %s", answer.Code, answer.Body)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	for header, want := range map[string]string{
		"bearer a.b-c":    "a.b-c",
		"BEARER  a.b-c":   "a.b-c",
		"":                "",
		"Bearer":          "",
		"Bearer ":         "",
		"Bearer a b":      "",
		"Basic dTpw":      "",
		"Bearera.b-c":     "",
		"a.b-c":           "",
		"Token a.b-c":     "",
		"Bearer\ta.b-c d": "",
	} {
		s := &scripted{replication: migration.Replication{Status: migration.Waiting}}
		handler, _ := newHandler(s)
		answer := request{method: "GET", path: "/v1/replication", header: map[string]string{"Authorization": header}}.send(t, handler)
		contract.check(t, "GET", "/v1/replication", answer)
		if s.token != want {
			t.Errorf("%q is read as %q", header, s.token)
		}
		if want != "" {
			continue
		}
		if problem := problemOf(t, answer); answer.Code != http.StatusUnauthorized || problem.Code != "NOT_AUTHENTICATED" || answer.Header().Get("WWW-Authenticate") != "Bearer" {
			t.Errorf("%q: %+v", header, problem)
		}
	}
	// The token comes before everything else: without one nothing is said about the parameters.
	handler, _ := newHandler(&scripted{})
	if answer := (request{method: "POST", path: "/v1/replication", body: "{", header: map[string]string{"Authorization": ""}}).send(t, handler); answer.Code != http.StatusUnauthorized {
		t.Errorf("a bad body without a token: %d", answer.Code)
	}
}

func TestErrorsBecomeStatuses(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	for _, c := range []struct {
		err        error
		status     int
		code       string
		detail     string
		retryAfter bool
	}{
		{&cloudfoundry.ForbiddenError{Text: "run 'cf oauth-token'"}, 403, "NOT_AUTHORIZED", "run 'cf oauth-token'", false},
		{&cloudfoundry.NotFoundError{Text: `there is no org "x"`}, 404, "NAME_NOT_FOUND", `there is no org "x"`, false},
		{&cloudfoundry.UnusableKeyError{Text: "no hostname"}, 409, "UNUSABLE_KEY", "no hostname", false},
		{&cloudfoundry.UnavailableError{Err: errors.New("refused, said 10.0.0.1")}, 503, "UNAVAILABLE", "try again", true},
		{&migration.NotFoundError{Code: "REPLICATION_NOT_FOUND", Text: "no replication"}, 404, "REPLICATION_NOT_FOUND", "no replication", false},
		{&migration.ConflictError{Text: "it exists"}, 409, "CONFLICT", "it exists", false},
		{&migration.BusyError{Text: "too many"}, 429, "BUSY", "too many", true},
		{errors.New("password=hunter2 is wrong"), 503, "UNAVAILABLE", "try again", true},
	} {
		for _, line := range []string{"GET /v1/preflight-check", "GET /v1/replication", "POST /v1/replication", "DELETE /v1/finalization", "GET /v1/replication/progress"} {
			method, path, _ := strings.Cut(line, " ")
			handler, _ := newHandler(&scripted{err: c.err})
			answer := request{method: method, path: path, header: map[string]string{"X-Vcap-Request-Id": "id-1"}}.send(t, handler)
			contract.check(t, method, path, answer)
			problem := problemOf(t, answer)
			if answer.Code != c.status || problem.Status != c.status || problem.Code != c.code || !strings.Contains(problem.Detail, c.detail) || problem.RequestId != "id-1" {
				t.Errorf("%s with %T: %d %+v", line, c.err, answer.Code, problem)
			}
			if strings.Contains(answer.Body.String(), "hunter2") || strings.Contains(answer.Body.String(), "10.0.0.1") {
				t.Errorf("%s with %T tells too much: %s", line, c.err, answer.Body)
			}
			if (answer.Header().Get("Retry-After") != "") != c.retryAfter {
				t.Errorf("%s with %T: Retry-After %q", line, c.err, answer.Header().Get("Retry-After"))
			}
		}
	}
}

func TestProgress(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	at, lag, seconds := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600)), int64(17), 1.5
	s := &scripted{replication: migration.Replication{
		Status: migration.Failed, Failure: &migration.Failure{Code: "SLOT_LOST", Message: "gone", Hint: "again"},
		StartedAt: &at, FinishedAt: &at,
		Progress: &progress.Progress{
			Phase: progress.Copying, Method: "logical", MethodReason: "it can", BytesCopied: 5, BytesTotal: 10, RowsCopied: 1, RowsTotal: 2,
			BytesPerSecond: 3, EstimatedEnd: &at, LagBytes: &lag, LagSeconds: &seconds, TransactionsApplied: 4, Warnings: []string{"odd"},
			Tables: []progress.TableProgress{
				{Schema: "a", Name: "x", Phase: progress.TableCopying, Verification: progress.NotVerified},
				{Schema: "a", Name: "x y", Phase: progress.TablePending, Verification: progress.NotVerified},
				{Schema: "a b", Name: "c", Phase: progress.TableDeferred, Verification: progress.Verified, Inserts: 1, Updates: 2, Deletes: 3},
			},
		},
	}}
	handler, _ := newHandler(s)
	var seen []string
	cursor := ""
	for {
		parameters := allParameters()
		parameters["limit"] = "1"
		if cursor != "" {
			parameters["cursor"] = cursor
		}
		answer := request{method: "GET", path: "/v1/replication/progress", query: queryOf(parameters)}.send(t, handler)
		contract.check(t, "GET", "/v1/replication/progress", answer)
		var page api.ReplicationProgress
		if err := json.Unmarshal(answer.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		if page.Phase != "failed" || page.Error == nil || page.Error.Code != "SLOT_LOST" || page.TablesTotal != 3 || *page.LagBytes != 17 || !page.StartedAt.Equal(at) {
			t.Errorf("%s", answer.Body)
		}
		for _, table := range page.Tables {
			seen = append(seen, table.Schema+"."+table.Name)
		}
		if page.NextCursor == nil {
			break
		}
		cursor = *page.NextCursor
	}
	if got := strings.Join(seen, ", "); got != "a.x, a.x y, a b.c" {
		t.Errorf("the pages give %s", got)
	}
	for name, values := range map[string][]string{"limit": {"0", "1001", "x", "-1", "1.5"}, "cursor": {"%%%", "!"}} {
		for _, value := range values {
			parameters := allParameters()
			parameters[name] = value
			answer := request{method: "GET", path: "/v1/replication/progress", query: queryOf(parameters)}.send(t, handler)
			if answer.Code != http.StatusBadRequest || !strings.Contains(problemOf(t, answer).Detail, "'"+name+"'") {
				t.Errorf("%s=%s: %d %s", name, value, answer.Code, answer.Body)
			}
		}
	}
	// Only the replication has pages.
	parameters := allParameters()
	parameters["limit"] = "1"
	if answer := (request{method: "GET", path: "/v1/replication", query: queryOf(parameters)}).send(t, handler); answer.Code != http.StatusBadRequest {
		t.Errorf("limit of the status: %d", answer.Code)
	}
}

func TestProgressOfWhatHasNotBegun(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	for status, phase := range map[migration.Status]string{migration.Waiting: "waiting", migration.Completed: "completed", migration.Failed: "failed"} {
		handler, _ := newHandler(&scripted{replication: migration.Replication{Status: status}, finalization: migration.Finalization{Status: status}})
		answer := request{method: "GET", path: "/v1/replication/progress"}.send(t, handler)
		contract.check(t, "GET", "/v1/replication/progress", answer)
		if !strings.Contains(answer.Body.String(), `"phase":"`+phase+`"`) {
			t.Errorf("%s: %s", status, answer.Body)
		}
		contract.check(t, "GET", "/v1/finalization/progress", request{method: "GET", path: "/v1/finalization/progress"}.send(t, handler))
	}
}

func TestProgressOfTheFinalization(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	at, seconds := time.Now(), 2.5
	handler, _ := newHandler(&scripted{finalization: migration.Finalization{
		Status: migration.Running, StartedAt: &at,
		Progress: &progress.FinalizationProgress{
			Steps: []progress.Step{{Name: "fence", StartedAt: at, Seconds: &seconds}, {Name: "drain", StartedAt: at}}, FencedSeconds: 3,
			Verification: []progress.TableVerification{{Schema: "a", Name: "x", State: progress.Mismatched, SourceRows: 1, TargetRows: 2, SourceHash: "h", TargetHash: "i"}},
		},
	}})
	answer := request{method: "GET", path: "/v1/finalization/progress"}.send(t, handler)
	contract.check(t, "GET", "/v1/finalization/progress", answer)
	var progress api.FinalizationProgress
	if err := json.Unmarshal(answer.Body.Bytes(), &progress); err != nil {
		t.Fatal(err)
	}
	if len(progress.Steps) != 2 || *progress.Steps[0].Seconds != 2.5 || progress.Steps[1].Seconds != nil || progress.Verification[0].Validation != api.Mismatched {
		t.Errorf("%s", answer.Body)
	}
}

func TestRequestIDs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		header, value string
		taken         bool
	}{
		{"X-Vcap-Request-Id", "3f2a-1", true},
		{"X-Request-Id", "abc.DEF_9", true},
		{"X-Request-Id", "has blank", false},
		{"X-Request-Id", `quo"te`, false},
		{"X-Vcap-Request-Id", strings.Repeat("x", 129), false},
	} {
		handler, log := newHandler(&scripted{})
		answer := request{method: "GET", path: "/v1/nothing", header: map[string]string{c.header: c.value}}.send(t, handler)
		id := answer.Header().Get("X-Request-Id")
		if (id == c.value) != c.taken || id == "" || problemOf(t, answer).RequestId != id || !strings.Contains(log.String(), id) {
			t.Errorf("%s: %q becomes %q", c.header, c.value, id)
		}
	}
}

func TestWhatIsNotInTheContract(t *testing.T) {
	t.Parallel()
	handler, _ := newHandler(&scripted{})
	for line, want := range map[string]int{
		"GET /": 404, "GET /v1": 404, "GET /v2/replication": 404, "GET /v1/replication/": 404,
		"PUT /v1/replication": 405, "PATCH /v1/finalization": 405, "POST /v1/preflight-check": 405, "POST /healthz": 405,
	} {
		method, path, _ := strings.Cut(line, " ")
		answer := request{method: method, path: path}.send(t, handler)
		if answer.Code != want || problemOf(t, answer).Status != want || answer.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %d %s", line, answer.Code, answer.Body)
		}
		if want == http.StatusMethodNotAllowed && answer.Header().Get("Allow") == "" {
			t.Errorf("%s: no header Allow", line)
		}
	}
}

func TestWithoutToken(t *testing.T) {
	t.Parallel()
	ready := errors.New("no database")
	handler := rest.NewHandler(rest.Options{
		Migrations: &scripted{}, Ready: func(context.Context) error { return ready }, Log: slog.New(slog.DiscardHandler), Requests: 10,
	})
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/openapi.yaml": 200, "/v1/openapi.yaml": 200} {
		answer := request{method: "GET", path: path, header: map[string]string{"Authorization": ""}}.send(t, handler)
		if answer.Code != want {
			t.Errorf("%s: %d", path, answer.Code)
		}
		if strings.HasSuffix(path, "openapi.yaml") && (!bytes.Equal(answer.Body.Bytes(), api.Contract) || answer.Header().Get("Content-Type") != "application/yaml") {
			t.Errorf("%s is not the contract", path)
		}
	}
	ready = nil
	if answer := (request{method: "GET", path: "/readyz"}).send(t, handler); answer.Code != http.StatusOK {
		t.Errorf("/readyz: %d", answer.Code)
	}
}

func TestAPanicIsAProblem(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	handler, log := newHandler(&scripted{wait: func(context.Context) { panic("out of cheese") }})
	answer := request{method: "GET", path: "/v1/preflight-check"}.send(t, handler)
	contract.check(t, "GET", "/v1/preflight-check", answer)
	if answer.Code != http.StatusInternalServerError || strings.Contains(answer.Body.String(), "cheese") || !strings.Contains(log.String(), "cheese") {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
}

func TestTooManyAtOnce(t *testing.T) {
	t.Parallel()
	contract := loadContract(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	s := &scripted{wait: func(context.Context) { inside <- struct{}{}; <-leave }}
	handler := rest.NewHandler(rest.Options{
		Migrations: s, Ready: func(context.Context) error { return nil }, Log: slog.New(slog.DiscardHandler), Requests: 1,
	})
	done := make(chan int)
	go func() { done <- request{method: "GET", path: "/v1/preflight-check"}.send(t, handler).Code }()
	<-inside
	answer := request{method: "GET", path: "/v1/replication"}.send(t, handler)
	contract.check(t, "GET", "/v1/replication", answer)
	if answer.Code != http.StatusTooManyRequests || answer.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", answer.Code, answer.Body)
	}
	// Who asks whether the service lives must not be told that it is busy: the platform would start it anew.
	for _, path := range []string{"/healthz", "/readyz"} {
		if answer := (request{method: "GET", path: path}).send(t, handler); answer.Code != http.StatusOK {
			t.Errorf("%s of a busy service: %d", path, answer.Code)
		}
	}
	close(leave)
	if code := <-done; code != http.StatusOK {
		t.Errorf("the first request: %d", code)
	}
}

func TestTheLogHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for _, err := range []error{nil, &migration.ConflictError{Text: "no"}, &cloudfoundry.UnavailableError{Err: errors.New("refused")}} {
		handler, log := newHandler(&scripted{err: err, replication: migration.Replication{Status: migration.Waiting}})
		for _, method := range []string{"GET", "POST", "DELETE"} {
			request{method: method, path: "/v1/replication"}.send(t, handler)
		}
		for _, secret := range []string{secretToken, url.QueryEscape(allNames.Org), allNames.Org, "db-old"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("the log holds %q:\n%s", secret, log)
			}
		}
		if !strings.Contains(log.String(), "/v1/replication") {
			t.Error("the log does not name the requests")
		}
	}
}
