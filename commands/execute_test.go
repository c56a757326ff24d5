package commands_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cf-pg-migrate/cf-pg-migrate/client/clienttest"
	"github.com/cf-pg-migrate/cf-pg-migrate/commands"
)

func TestCtrlCWhileWaiting(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		w := newWorld(t)
		w.api.On("GET /v1/finalization", clienttest.Status("RUNNING"))
		ctx, cancel := context.WithCancelCause(t.Context())
		w.clock.onSleep = func() { cancel(commands.ErrInterrupted) }
		args := []string{"finalization", "--wait"}
		if asJSON {
			args = append(args, "--json")
		}
		status := w.runIn(ctx, args...)
		want := "\nStopped. The finalization goes on at the service. Look again with 'cf pg-migrate finalization'.\n"
		if status != 1 || !strings.HasSuffix(w.err.String(), want) {
			t.Errorf("%d, %s", status, w.err.String())
		}
		if asJSON != strings.Contains(w.out.String(), `"code": "CANCELLED"`) {
			t.Errorf("%s", w.out.String())
		}
	}
}

func TestCtrlCInARequest(t *testing.T) {
	for line, args := range map[string]string{
		"GET /v1/replication":     "replication",
		"POST /v1/replication":    "create-replication",
		"DELETE /v1/replication":  "delete-replication -f", // which looks first
		"GET /v1/preflight-check": "preflight-check",
		"POST /v1/finalization":   "create-finalization",
		"DELETE /v1/finalization": "delete-finalization -f",
	} {
		w := newWorld(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		w.api.On(line, clienttest.Answer{Status: 200, Delay: time.Minute, Before: func() { cancel(commands.ErrInterrupted) }})
		began := time.Now()
		if status := w.runIn(ctx, strings.Fields(args)...); status != 1 || time.Since(began) > 10*time.Second {
			t.Errorf("%s: %d", line, status)
		}
		asked := w.api.Requests()
		if w.api.Asked(line) != 1 || asked[len(asked)-1].Line != line || !strings.Contains(w.err.String(), "Stopped.") {
			t.Errorf("%s: %v, %s", line, asked, w.err.String())
		}
		if strings.HasPrefix(line, "POST") && !strings.Contains(w.err.String(), "If the service has taken it on") {
			t.Errorf("%s: %s", line, w.err.String())
		}
	}
}

func TestCtrlCAtThePrompt(t *testing.T) {
	w := newWorld(t).terminal()
	r, writer := io.Pipe()
	defer writer.Close()
	w.streams.In = r
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(50*time.Millisecond, func() { cancel(commands.ErrInterrupted) })
	if status := w.runIn(ctx, "create-finalization"); status != 1 || len(w.api.Requests()) > 0 || !strings.HasSuffix(w.err.String(), "Stopped.\n") {
		t.Errorf("%d, %s", status, w.err.String())
	}
}

// TestAVanishedCFIsQuiet: when cf is gone nobody is there to read (trap P5).
func TestAVanishedCFIsQuiet(t *testing.T) {
	w := newWorld(t)
	w.api.On("GET /v1/replication", clienttest.Status("RUNNING"))
	w.session.tokens = []error{nil, nil, commands.ErrGone}
	before := ""
	w.clock.onSleep = func() { before = w.err.String() }
	if status := w.run("replication", "--wait"); status != 1 || w.out.Len() > 0 || w.err.String() != before {
		t.Errorf("%d, %s, %s", status, w.out.String(), w.err.String())
	}
}

func TestPollInterval(t *testing.T) {
	for flag, want := range map[string]time.Duration{"": 5 * time.Second, "--poll-interval=17s": 17 * time.Second} {
		w := newWorld(t)
		w.api.On("GET /v1/replication", clienttest.Status("RUNNING"), clienttest.Status("IN-SYNC"))
		w.run(strings.Fields("replication --wait " + flag)...)
		if len(w.clock.sleeps) != 1 || w.clock.sleeps[0] != want {
			t.Errorf("%q: %v", flag, w.clock.sleeps)
		}
		if w.session.asked < 3 {
			t.Errorf("the token was asked for %d times", w.session.asked)
		}
	}
}

// TestTimeoutIsCode: the end of --timeout, between two looks and in one (trap P33).
func TestTimeoutIsCode(t *testing.T) {
	w := newWorld(t)
	w.api.On("GET /v1/replication", clienttest.Status("RUNNING"))
	if status := w.run("replication", "--wait", "--timeout", "7s", "--json"); status != 1 || !strings.Contains(w.out.String(), `"code": "TIMEOUT"`) {
		t.Errorf("%d, %s", status, w.out.String())
	}
	if got := w.clock.sleeps; len(got) != 2 || got[1] != 2*time.Second {
		t.Errorf("slept %v", got)
	}
	w = newWorld(t)
	w.api.On("GET /v1/replication", clienttest.Answer{Status: 200, Delay: time.Minute})
	began := time.Now()
	if status := w.run("replication", "--wait", "--timeout", "50ms"); status != 1 || time.Since(began) > 10*time.Second || !strings.Contains(w.err.String(), "Gave up waiting after 50ms") {
		t.Errorf("%d, %s", status, w.err.String())
	}
}

// TestExactlyOneDocument: --json prints one document and nothing else, whatever happens, with the cause of a failure (traps P9 and P10).
func TestExactlyOneDocument(t *testing.T) {
	for _, line := range []string{
		"target", "target --unset", "api", "api --unset", "preflight-check", "create-replication", "replication", "delete-replication", "delete-replication -f",
		"create-finalization", "finalization", "delete-finalization -f", "tables", "help", "help tables", "version", "nonsense", "target a",
	} {
		w := newWorld(t).terminal()
		w.run(append(strings.Fields(line), "--json")...)
		decoder := json.NewDecoder(bytes.NewReader(w.out.Bytes()))
		var document struct {
			Command string
			Error   *struct{ Code, Message string }
		}
		if err := decoder.Decode(&document); err != nil || document.Command != strings.Fields(line)[0] {
			t.Errorf("%s: %v\n%s", line, err, w.out.String())
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: more than a document", line)
		}
		if document.Error != nil && (document.Error.Code == "" || document.Error.Message == "" || document.Error.Code == "INTERNAL") {
			t.Errorf("%s: %+v", line, document.Error)
		}
	}
}

func TestClosedStdout(t *testing.T) {
	w := newWorld(t)
	w.streams.Out = broken{}
	if status := w.run("version", "--json"); status != 1 {
		t.Errorf("status %d", status)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errDead }

func TestTargetLooksUp(t *testing.T) {
	instances := func(list ...object) clienttest.Answer {
		return clienttest.JSON(object{"resources": append([]object{}, list...)})
	}
	none, old, next := instances(), object{"guid": "g1", "name": "db-old", "type": "managed"}, object{"guid": "g2", "name": "db-new"}
	key := func(name string) object { return object{"guid": "k", "name": name} }
	type list = []clienttest.Answer
	for name, test := range map[string]struct {
		instances, keys list
		want            string // empty if it is saved
	}{
		"all there":      {list{instances(old), instances(next)}, list{instances(key("k1")), instances(key("k2"))}, ""},
		"no source":      {list{none, instances(next, object{"name": "db-odl"})}, nil, `Service instance "db-old" does not exist in org acme / space prod. Did you mean "db-odl"?`},
		"no source key":  {list{instances(old)}, list{none, instances(key("unlike"))}, `Service key "k1" of service instance "db-old" does not exist.` + "\n"},
		"no target":      {list{instances(old), none, none}, list{instances(key("k1"))}, `Service instance "db-new" does not exist`},
		"no target key":  {list{instances(old), instances(next)}, list{instances(key("k1")), none, instances(key("k3"))}, `Service key "k2" of service instance "db-new" does not exist. Did you mean "k3"?`},
		"user-provided":  {list{instances(object{"guid": "g", "type": "user-provided"})}, nil, "is user-provided"},
		"not authorized": {list{clienttest.Problem(401, "", "Invalid Auth Token")}, nil, "space developer"},
		"second fails":   {list{none, clienttest.HTML(200)}, nil, "--no-check"},
		"keys fail":      {list{instances(old)}, list{clienttest.NoRoute()}, "--no-check"},
		"all keys fail":  {list{instances(old)}, list{none, clienttest.Problem(500, "", "broken")}, "broken"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.session.login.API = w.api.URL + "/"
			w.api.On("GET /v3/service_instances", test.instances...)
			w.api.On("GET /v3/service_credential_bindings", test.keys...)
			status := w.run("target", "db-old", "k1", "db-new", "k2")
			_, saved := w.store.targets[w.api.URL+" space-guid"]
			if (status == 0) != (test.want == "") || saved != (status == 0) || !strings.Contains(w.err.String(), test.want) {
				t.Errorf("%d, saved %v, %s", status, saved, w.err.String())
			}
		})
	}
	w := newWorld(t)
	w.session.login.API = "http://api.example.com"
	if status := w.run("target", "a", "b", "c", "d", "--json"); status != 1 || !strings.Contains(w.out.String(), "NO_API") {
		t.Errorf("%d, %s", status, w.out.String())
	}
	w = newWorld(t)
	w.store.err = errDead
	if status := w.run("target", "a", "b", "c", "d", "--no-check"); status != 1 {
		t.Error("saved nowhere")
	}
	if status := w.run("target", "--unset"); status != 1 {
		t.Error("forgot nowhere")
	}
}

// TestOwnCA: a CA of the user's own, and certificates that are not checked because cf does not (trap P37).
func TestOwnCA(t *testing.T) {
	server := clienttest.StartTLS()
	t.Cleanup(server.Close)
	server.On("GET /v1/replication", clienttest.Status("RUNNING"))
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	nonsense := filepath.Join(t.TempDir(), "nonsense.pem")
	if err := os.WriteFile(nonsense, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for flags, want := range map[string]int{"--ca-cert " + file: 0, "--skip-ssl-validation": 0, "": 1} {
		w := newWorld(t)
		w.env = nil
		if status := w.run(strings.Fields("api " + server.URL + " " + flags)...); status != 0 {
			t.Fatal(w.err.String())
		}
		if status := w.run("replication"); status != want || want == 1 && !strings.Contains(w.err.String(), "--ca-cert FILE") {
			t.Errorf("%q: %d, %s", flags, status, w.err.String())
		}
	}
	w := newWorld(t)
	w.env = nil
	w.session.login.SkipSSLValidation = true
	w.run("api", server.URL)
	if status := w.run("replication"); status != 0 {
		t.Error("the setting of cf is not honoured")
	}
	w = newWorld(t)
	if status := w.run("api", server.URL, "--ca-cert", nonsense, "--json"); status != 1 || !strings.Contains(w.out.String(), "CONFIG") {
		t.Errorf("%d, %s", status, w.out.String())
	}
	w.env["PG_MIGRATE_API"] = server.URL
	w.store.apis["https://api.cf.example.com"] = commands.SavedAPI{URL: server.URL, CACert: "/gone.pem"}
	if status := w.run("replication", "--json"); status != 1 || !strings.Contains(w.out.String(), "/gone.pem") {
		t.Errorf("%d, %s", status, w.out.String())
	}
}
