package commands_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

type object = map[string]any

type texts = []string

func issues(critical, warning texts) object { return object{"critical": critical, "warning": warning} }

func preflight(sourceCritical, sourceWarning, targetCritical, targetWarning texts) clienttest.Answer {
	return clienttest.JSON(object{
		"sourceDatabaseIssues": issues(sourceCritical, sourceWarning),
		"targetDatabaseIssues": issues(targetCritical, targetWarning),
	})
}

func table(name, phase string, done, total int) object {
	return object{
		"schema": "public", "name": name, "phase": phase, "rows_copied": done / 100, "rows_total": total / 100,
		"bytes_copied": done, "bytes_total": total, "inserts": 12, "updates": 3456, "deletes": 7, "validation": "NOT_VALIDATED",
	}
}

func progress(status, phase string, more object) clienttest.Answer {
	body := object{
		"status": status, "phase": phase, "method": "logical", "method_reason": "the source login may replicate",
		"bytes_copied": 1_200_000_000, "bytes_total": 2_600_000_000, "rows_copied": 10_234_000, "rows_total": 20_000_000,
		"tables_total": 3, "warnings": texts{"table public.log has no primary key: \x1b[31mits rows are compared as a whole"},
		"tables": []object{
			table("orders", "COPYING", 700_000_000, 2_000_000_000), table("customers", "INDEXING", 500_000_000, 500_000_000),
			table("log", "PENDING", 0, 100_000_000),
		},
	}
	for key, value := range more {
		body[key] = value
	}
	return clienttest.JSON(body)
}

func finalized(status string, more object) clienttest.Answer {
	step := func(name string, seconds float64) object {
		return object{"name": name, "started_at": "2026-11-21T11:59:50Z", "seconds": seconds}
	}
	verified := func(name string, rows int, validation string) object {
		return object{
			"schema": "public", "name": name, "source_rows": rows, "target_rows": rows, "source_hash": "a", "target_hash": "a",
			"validation": validation,
		}
	}
	body := object{
		"status": status, "fenced_seconds": 4.25, "started_at": "2026-11-21T11:59:50Z", "finished_at": "2026-11-21T11:59:56Z",
		"steps":        []object{step("fence", 0.31), step("drain", 0.92), step("verification", 2.8), step("opening", 0.1)},
		"verification": []object{verified("orders", 20_000_000, "VALIDATED"), verified("customers", 1, "VALIDATED")},
	}
	for key, value := range more {
		body[key] = value
	}
	return clienttest.JSON(body)
}

// TestScenarios runs each command against a service that answers what the scenario says, and compares all that a
// person or a script gets. Some are asked whether they mean it (trap P36).
func TestScenarios(t *testing.T) {
	const (
		getReplication  = "GET /v1/replication"
		getProgress     = "GET /v1/replication/progress"
		getFinalization = "GET /v1/finalization"
		getFinalized    = "GET /v1/finalization/progress"
		getPreflight    = "GET /v1/preflight-check"
	)
	type answers = map[string][]clienttest.Answer
	one := func(answer clienttest.Answer) []clienttest.Answer { return []clienttest.Answer{answer} }
	copying := object{"bytes_per_second": 85_000_000, "estimated_end": "2026-11-21T12:00:17Z"}
	failure := object{"error": object{"code": "PREFLIGHT_CRITICAL", "message": "Table public.t has an unlogged copy.", "hint": "Drop it."}}

	differing := []object{
		{"schema": "a", "name": "few", "phase": "DEFERRED", "rows_copied": 1, "rows_total": 1, "bytes_copied": 9000, "bytes_total": 9000, "inserts": 1, "updates": 0, "deletes": 0, "validation": "VALIDATED"},
		{"schema": "a", "name": "many", "phase": "REPLICATING", "rows_copied": 100, "rows_total": 100, "bytes_copied": 500, "bytes_total": 500, "inserts": 0, "updates": 2, "deletes": 7, "validation": "NOT_VALIDATED"},
		{"schema": "b", "name": "other", "phase": "COPYING", "rows_copied": 3, "rows_total": 30, "bytes_copied": 70, "bytes_total": 700, "inserts": 0, "updates": 3, "deletes": 0, "validation": "MISMATCHED"},
	}
	var many []object
	for n := range 27 {
		many = append(many, table(fmt.Sprintf("t%02d", n), "REPLICATING", 100, 100))
	}
	for name, test := range map[string]struct {
		args     string
		terminal bool
		stdin    string
		answers  answers
		prepare  func(*world)
	}{
		"preflight ready": {args: "preflight-check", answers: answers{getPreflight: one(preflight(texts{}, texts{"Multiple roles found"}, texts{}, texts{}))}},
		"preflight ready on a terminal": {args: "preflight-check", terminal: true, answers: answers{getPreflight: one(preflight(texts{},
			texts{"Multiple access privileges found (beware that no privilege will be migrated), and this text is longer than the line"}, texts{}, texts{}))}},
		"preflight critical":      {args: "preflight-check", answers: answers{getPreflight: one(preflight(texts{"Data\ttype \x1b[31mx"}, texts{}, texts{}, texts{"Not empty"}))}},
		"preflight strict":        {args: "preflight-check --strict --json", answers: answers{getPreflight: one(preflight(texts{}, texts{"<b>&"}, texts{}, texts{}))}},
		"preflight json":          {args: "--json preflight-check", answers: answers{getPreflight: one(preflight(texts{}, texts{}, texts{}, texts{}))}},
		"preflight critical json": {args: "preflight-check --json", answers: answers{getPreflight: one(preflight(texts{"bad"}, texts{}, texts{}, texts{}))}},

		"create replication":      {args: "create-replication", answers: answers{"POST /v1/replication": one(clienttest.Accepted())}},
		"create replication json": {args: "create-replication --json", answers: answers{"POST /v1/replication": one(clienttest.Accepted())}},
		"create replication again": {args: "create-replication", answers: answers{
			"POST /v1/replication": one(clienttest.Problem(409, "CONFLICT", "a replication exists already")), getReplication: one(clienttest.Status("IN-SYNC")),
		}},
		"create replication answer lost": {args: "create-replication", answers: answers{
			"POST /v1/replication": one(clienttest.Problem(503, "BUSY", "restarting")), getReplication: one(clienttest.Status("WAITING")),
		}},
		"create replication answer lost and nothing there": {args: "create-replication", answers: answers{"POST /v1/replication": one(clienttest.HTML(502))}},
		"create replication answer lost and unreadable": {args: "create-replication --json", answers: answers{
			"POST /v1/replication": one(clienttest.HTML(502)), getReplication: one(clienttest.HTML(502)),
		}},
		"create replication answer lost and an old one": {args: "create-replication", answers: answers{
			"POST /v1/replication": one(clienttest.HTML(502)), getReplication: one(clienttest.Status("FAILED")),
		}},
		"create replication and wait": {args: "create-replication --wait --poll-interval 20s", answers: answers{
			"POST /v1/replication": one(clienttest.Accepted()),
			getReplication: {
				clienttest.Status("WAITING"), clienttest.Status("RUNNING"), clienttest.Status("RUNNING"), clienttest.Status("RUNNING"),
				clienttest.Status("RUNNING"), clienttest.Status("RUNNING"), clienttest.Status("IN-SYNC"),
			},
			getProgress: {
				progress("WAITING", "preparing", object{"bytes_total": 0, "rows_total": 0}), progress("RUNNING", "copying", copying), progress("RUNNING", "copying", copying),
				progress("RUNNING", "copying", copying), progress("RUNNING", "copying", copying), progress("RUNNING", "catching-up", object{"lag_bytes": 12345, "lag_seconds": 3.21}),
				progress("IN-SYNC", "in-sync", object{"lag_bytes": 0, "lag_seconds": 0.1}),
			},
		}},
		"create replication and wait without progress": {args: "create-replication --wait --json", answers: answers{
			"POST /v1/replication": one(clienttest.Accepted()),
			getReplication:         {clienttest.Status("WAITING"), clienttest.Status("RUNNING"), clienttest.Status("IN-SYNC")},
		}},

		"replication":                 {args: "replication", answers: answers{getReplication: one(clienttest.Status("RUNNING")), getProgress: one(progress("RUNNING", "copying", copying))}},
		"replication on a terminal":   {args: "replication", terminal: true, answers: answers{getReplication: one(clienttest.Status("RUNNING")), getProgress: one(progress("RUNNING", "copying", copying))}},
		"replication in sync":         {args: "replication", terminal: true, answers: answers{getReplication: one(clienttest.Status("IN-SYNC")), getProgress: one(progress("IN-SYNC", "in-sync", object{"lag_bytes": 0, "lag_seconds": 0.1, "warnings": texts{}}))}},
		"replication plain":           {args: "replication", terminal: true, answers: answers{getReplication: one(clienttest.Status("COMPLETED"))}},
		"replication json":            {args: "replication --json", answers: answers{getReplication: one(clienttest.Status("IN-SYNC")), getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": []object{}}))}},
		"replication failed":          {args: "replication", answers: answers{getReplication: one(clienttest.Status("FAILED")), getProgress: one(progress("FAILED", "failed", failure))}},
		"replication failed json":     {args: "replication --json", answers: answers{getReplication: one(clienttest.Status("FAILED")), getProgress: one(progress("FAILED", "failed", failure))}},
		"replication failed no cause": {args: "replication", answers: answers{getReplication: one(clienttest.Status("FAILED"))}},
		"replication unknown status":  {args: "replication", answers: answers{getReplication: one(clienttest.Status("PAUSED\x1b[2J"))}},
		"replication missing":         {args: "replication"},
		"replication missing by own words": {args: "replication", answers: answers{getReplication: one(clienttest.Problem(404, "REPLICATION_NOT_FOUND",
			"There is no replication between these service instances; 'cf pg-migrate create-replication' starts one"))}},
		"delete replication none by code": {args: "delete-replication -f --json", answers: answers{"DELETE /v1/replication": one(clienttest.Problem(404, "REPLICATION_NOT_FOUND", "none"))}},
		"create replication unusable key": {args: "create-replication", answers: answers{"POST /v1/replication": one(clienttest.Problem(409, "UNUSABLE_KEY", "the key holds no host"))}},
		"replication key missing":         {args: "replication", answers: answers{getReplication: one(clienttest.Problem(404, "NAME_NOT_FOUND", "service key \"k1\" does not exist"))}},
		"replication no route":            {args: "replication --json", answers: answers{getReplication: one(clienttest.NoRoute())}},
		"replication not authorized":      {args: "replication", answers: answers{getReplication: one(clienttest.Problem(403, "FORBIDDEN", "you may not read the keys"))}},
		"replication other error":         {args: "replication --json", answers: answers{getReplication: one(clienttest.Problem(400, "BAD_REQUEST", "org is empty"))}},
		"replication wait unknown":        {args: "replication --wait", answers: answers{getReplication: one(clienttest.Status("PAUSED"))}},
		"replication wait flapping":       {args: "replication --wait", answers: answers{getReplication: {clienttest.Status("RUNNING"), clienttest.HTML(200), clienttest.NoRoute(), clienttest.Status("IN-SYNC")}}},
		"replication wait timeout":        {args: "replication --wait --timeout 12s", answers: answers{getReplication: one(clienttest.Status("RUNNING"))}},
		"replication wait outage":         {args: "replication --wait --poll-interval 1m --json", answers: answers{getReplication: {clienttest.Status("RUNNING"), clienttest.Problem(500, "INTERNAL", "out of order")}}},
		"replication wait no route":       {args: "replication --wait", answers: answers{getReplication: one(clienttest.NoRoute())}},
		"replication wait vanished":       {args: "replication --wait", answers: answers{getReplication: {clienttest.Status("RUNNING"), clienttest.Problem(404, "NOT_FOUND", "there is no replication")}}},

		"delete replication without a terminal": {args: "delete-replication"},
		"delete replication declined":           {args: "delete-replication --clean-target", terminal: true, stdin: "\r\n"},
		"delete replication confirmed":          {args: "delete-replication", terminal: true, stdin: "Yes\r\n", answers: answers{"DELETE /v1/replication": one(clienttest.Accepted())}},
		"delete replication wait": {args: "delete-replication -f --wait --json", answers: answers{
			"DELETE /v1/replication": one(clienttest.Accepted()), getReplication: {clienttest.Status("RUNNING"), clienttest.Status("RUNNING"), clienttest.Problem(404, "NOT_FOUND", "gone")},
		}},
		"delete replication none": {args: "delete-replication -f"},
		"delete replication completed": {args: "delete-replication --wait", terminal: true, stdin: "y\n", answers: answers{
			"DELETE /v1/replication": one(clienttest.Accepted()), getReplication: {clienttest.Status("COMPLETED"), clienttest.Problem(404, "NOT_FOUND", "gone")},
		}},
		"delete replication key missing": {args: "delete-replication -f", answers: answers{"DELETE /v1/replication": one(clienttest.Problem(404, "NAME_NOT_FOUND", "service key \"k1\" does not exist"))}},
		"delete replication no route":    {args: "delete-replication -f", answers: answers{"DELETE /v1/replication": one(clienttest.NoRoute())}},
		"delete replication answer lost": {args: "delete-replication -f --json", answers: answers{"DELETE /v1/replication": one(clienttest.HTML(502))}},
		"delete replication answer lost and still there": {args: "delete-replication -f", answers: answers{
			"DELETE /v1/replication": one(clienttest.HTML(502)), getReplication: one(clienttest.Status("RUNNING")),
		}},
		"delete replication answer lost and unreadable": {args: "delete-replication -f", answers: answers{
			"DELETE /v1/replication": one(clienttest.HTML(502)), getReplication: one(clienttest.HTML(502)),
		}},
		"delete replication conflict": {args: "delete-replication -f", answers: answers{"DELETE /v1/replication": one(clienttest.Problem(409, "CONFLICT", "it is being finalized"))}},
		"delete replication wait unknown": {args: "delete-replication -f --wait", answers: answers{
			"DELETE /v1/replication": one(clienttest.Accepted()), getReplication: one(clienttest.Status("STUCK")),
		}},

		"create finalization":          {args: "create-finalization", answers: answers{"POST /v1/finalization": one(clienttest.Accepted())}},
		"create finalization declined": {args: "create-finalization", terminal: true, stdin: "n\n"},
		"create finalization early": {args: "create-finalization -f", terminal: true, answers: answers{
			"POST /v1/finalization": one(clienttest.Problem(409, "NOT_IN_SYNC", "the replication is not IN-SYNC yet")),
		}},
		"create finalization and wait": {args: "create-finalization --wait", terminal: true, stdin: "y\n", answers: answers{
			"POST /v1/finalization": one(clienttest.Accepted()),
			getFinalization:         {clienttest.Status("WAITING"), clienttest.Status("RUNNING"), clienttest.Status("COMPLETED")},
			getFinalized: {
				finalized("WAITING", object{"steps": []object{}, "verification": []object{}}),
				finalized("RUNNING", object{"verification": []object{}, "steps": []object{{"name": "drain", "started_at": "2026-11-21T11:59:58Z"}}}),
				finalized("COMPLETED", nil),
			},
		}},
		"finalization":                 {args: "finalization", answers: answers{getFinalization: one(clienttest.Status("COMPLETED")), getFinalized: one(finalized("COMPLETED", nil))}},
		"finalization running":         {args: "finalization", answers: answers{getFinalization: one(clienttest.Status("RUNNING"))}},
		"finalization running details": {args: "finalization", terminal: true, answers: answers{getFinalization: one(clienttest.Status("RUNNING")), getFinalized: one(finalized("RUNNING", object{"steps": []object{{"name": "drain", "started_at": "2026-11-21T11:59:58Z"}}, "verification": []object{}}))}},
		"finalization json":            {args: "finalization --json", answers: answers{getFinalization: one(clienttest.Status("COMPLETED")), getFinalized: one(finalized("COMPLETED", object{"steps": []object{}}))}},
		"finalization plain":           {args: "finalization --wait", answers: answers{getFinalization: one(clienttest.Status("COMPLETED"))}},
		"finalization failed": {args: "finalization", terminal: true, answers: answers{getFinalization: one(clienttest.Status("FAILED")), getFinalized: one(finalized("FAILED", object{
			"error": object{"code": "MISMATCH", "message": "1 table is not equal"},
			"verification": []object{
				{"schema": "public", "name": "orders", "source_rows": 2, "target_rows": 1, "source_hash": "a", "target_hash": "b", "validation": "MISMATCHED"},
				{"schema": "public", "name": "log", "source_rows": 5, "target_rows": 0, "source_hash": "a", "target_hash": "", "validation": "PENDING"},
			},
		}))}},
		"finalization unknown status": {args: "finalization", answers: answers{getFinalization: one(clienttest.Status("PAUSED"))}},
		"finalization wait unknown":   {args: "finalization --wait", answers: answers{getFinalization: one(clienttest.Status("IN-SYNC"))}},
		"finalization missing":        {args: "finalization"},
		"delete finalization":         {args: "delete-finalization -f --wait", answers: answers{"DELETE /v1/finalization": one(clienttest.Accepted())}},
		"delete finalization asked":   {args: "delete-finalization", terminal: true, stdin: "y", answers: answers{"DELETE /v1/finalization": one(clienttest.Accepted())}},

		"tables":               {args: "tables", answers: answers{getProgress: {progress("RUNNING", "copying", object{"next_cursor": "2"}), progress("RUNNING", "copying", object{"tables": []object{table("ünïcode ␛", "DEFERRED", 0, 0)}})}}},
		"tables on a terminal": {args: "tables", terminal: true, answers: answers{getProgress: one(progress("RUNNING", "copying", copying))}},
		"tables narrow": {args: "tables", terminal: true, answers: answers{getProgress: one(progress("RUNNING", "copying", object{
			"tables": []object{table("a_table_with_a_name_that_is_far_too_long_for_a_terminal", "REPLICATING", 5, 5)},
		}))}, prepare: func(w *world) { w.streams.Width = func() int { return 40 } }},
		"tables json":          {args: "tables --json", answers: answers{getProgress: one(progress("RUNNING", "copying", object{"tables": []object{table("orders", "COPYING", 1, 2)}}))}},
		"tables not offered":   {args: "tables", answers: answers{getReplication: one(clienttest.Status("RUNNING"))}},
		"tables missing":       {args: "tables"},
		"tables by changes":    {args: "tables --sort changes", answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": differing}))}},
		"tables by size":       {args: "tables --sort=size", answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": differing}))}},
		"tables by rows":       {args: "tables --sort rows", answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": differing}))}},
		"tables by phase":      {args: "tables --sort phase", answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": differing}))}},
		"tables by validation": {args: "tables --sort validation", answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": differing}))}},
		"tables by nonsense":   {args: "tables --sort colour"},
		"tables many":          {args: "tables", terminal: true, answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": many}))}},
		"tables many all":      {args: "tables --all", terminal: true, answers: answers{getProgress: one(progress("IN-SYNC", "in-sync", object{"tables": many}))}},

		"target":      {args: "target"},
		"target json": {args: "target --json"},
		"target without an api": {args: "target", prepare: func(w *world) {
			w.env = nil
			w.session.login.API = "https://cf.example.com"
			w.store.targets["https://cf.example.com space-guid"] = w.store.targets["https://api.cf.example.com space-guid"]
		}},
		"target none":             {args: "target --json", prepare: func(w *world) { w.store.targets = nil }},
		"target unset":            {args: "target --unset"},
		"target unset none":       {args: "target --unset", prepare: func(w *world) { w.session.login.Space.GUID = "other" }},
		"target no check":         {args: "target a b c d --no-check --json"},
		"api":                     {args: "api"},
		"api derived":             {args: "api --json", prepare: func(w *world) { w.env = nil }},
		"api underivable":         {args: "api", prepare: func(w *world) { w.env = nil; w.session.login.API = "https://api.example.com" }},
		"api set":                 {args: "api https://pgm.example.com/v1/ --skip-ssl-validation", prepare: func(w *world) { w.env = nil }},
		"api set but environment": {args: "api https://pgm.example.com"},
		"api unset": {args: "api --unset", prepare: func(w *world) {
			w.env = nil
			w.store.apis["https://api.cf.example.com"] = commands.SavedAPI{URL: "https://x.example.com"}
		}},
		"api unset and underivable": {args: "api --unset", prepare: func(w *world) { w.env = nil; w.session.login.API = "https://other.example.com" }},
		"api bad environment":       {args: "api", prepare: func(w *world) { w.env["PG_MIGRATE_API"] = "http://example.com" }},
		"api bad saved": {args: "api", prepare: func(w *world) {
			w.env = nil
			w.store.apis["https://api.cf.example.com"] = commands.SavedAPI{URL: "ftp://x"}
		}},
		"api ca missing":    {args: "api https://pgm.example.com --ca-cert /does/not/exist.pem"},
		"api no foundation": {args: "api", prepare: func(w *world) { w.session.login.API = "" }},

		"not logged in":  {args: "replication --json", prepare: func(w *world) { w.session.login.LoggedIn = false }},
		"no org":         {args: "replication", prepare: func(w *world) { w.session.login.Org.Name = ""; w.session.login.Space.Name = "" }},
		"no space":       {args: "replication", prepare: func(w *world) { w.session.login.Space.Name = "" }},
		"no target":      {args: "replication", prepare: func(w *world) { w.store.targets = nil }},
		"session broken": {args: "replication", prepare: func(w *world) { w.session.err = errDead }},
		"store broken": {args: "replication --json", prepare: func(w *world) {
			w.store.err = &commands.ConfigError{Path: "/home/x/config.json", Err: errDead, Hint: "Mend it."}
		}},
		"token dead":   {args: "replication --json", prepare: func(w *world) { w.session.tokens = []error{&commands.TokenError{Err: errDead}} }},
		"token late":   {args: "replication", prepare: func(w *world) { w.session.tokens = []error{&commands.TokenError{Temporary: true, Err: errDead}} }},
		"user unknown": {args: "replication", answers: answers{getReplication: one(clienttest.Status("RUNNING"))}, prepare: func(w *world) { w.session.login.User = "" }},
		"token dies while waiting": {args: "replication --wait", answers: answers{getReplication: one(clienttest.Status("RUNNING"))}, prepare: func(w *world) {
			w.session.tokens = []error{nil, nil, &commands.TokenError{Temporary: true, Err: errDead}, nil, nil, &commands.TokenError{Err: errDead}}
		}},

		"no subcommand":      {args: ""},
		"only json":          {args: "--json"},
		"unknown subcommand": {args: "replicatoin"},
		"unknown flag":       {args: "replication --wiat"},
		"unknown flag json":  {args: "replication --nonsense --json"},
		"flag of another":    {args: "replication --strict"},
		"extra argument":     {args: "replication now"},
		"three names":        {args: "target a b c"},
		"five names":         {args: "target a b c d e"},
		"help":               {args: "help"},
		"help target":        {args: "help target"},
		"help unknown":       {args: "help finalisation"},
		"help json":          {args: "help version --json"},
		"version":            {args: "version"},
		"version json":       {args: "version --json"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.terminal {
				w.terminal()
			}
			w.streams.In = strings.NewReader(test.stdin)
			for line, list := range test.answers {
				w.api.On(line, list...)
			}
			if test.prepare != nil {
				test.prepare(w)
			}
			args := strings.Fields(test.args)
			golden(t, strings.ReplaceAll(name, " ", "_"), w.transcript(args, w.run(args...)))
		})
	}
}
