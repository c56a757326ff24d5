package state_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/fixtures/postgres"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

const (
	major    = 15
	password = "hunter2-the-password"
	brief    = 200 * time.Millisecond
	long     = time.Hour
)

func TestMain(m *testing.M) { os.Exit(postgres.Main(m)) }

func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

func open(t *testing.T, url, keys string) *state.Store {
	t.Helper()
	sealer, err := state.NewSealer(keys)
	if err != nil {
		t.Fatal(err)
	}
	store, err := state.Open(t.Context(), url, sealer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func newStore(t *testing.T) *state.Store {
	t.Helper()
	return open(t, postgres.ForTest(t, major).NewDatabase(t, false).URL(), newKey())
}

func create(ctx context.Context, s *state.Store, id, source, target string) error {
	return s.InTx(ctx, func(tx pgx.Tx) error {
		return s.Create(ctx, tx, &state.Migration{ID: id, SourceGUID: source, TargetGUID: target, ReplicationStatus: fresh}, []byte(password))
	})
}

func mustCreate(t *testing.T, s *state.Store, id string) {
	t.Helper()
	if err := create(t.Context(), s, id, "source-"+id, "target-"+id); err != nil {
		t.Fatal(err)
	}
}

// Statuses mean nothing to the storage, so the tests have their own words.
const (
	fresh = "fresh"
	busy  = "busy"
	bad   = "bad"
	good  = "good"
)

var anything = []string{"", fresh, busy, bad, good}

// to is a change that may follow anything.
func to(status string) state.Change {
	return state.Change{To: status, From: anything, Ended: status == bad || status == good}
}

func mustLease(t *testing.T, s *state.Store, id, owner string, length time.Duration) *state.Lease {
	t.Helper()
	lease, _, err := s.TakeLease(t.Context(), id, owner, length)
	if err != nil {
		t.Fatal(err)
	}
	return lease
}

func TestKeys(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{
		"empty":       "",
		"not base64":  "!",
		"too short":   base64.StdEncoding.EncodeToString(make([]byte, 31)),
		"too long":    base64.StdEncoding.EncodeToString(make([]byte, 33)),
		"second bad":  newKey() + ",x",
		"second none": newKey() + ",",
	} {
		_, err := state.NewSealer(keys)
		if err == nil {
			t.Errorf("%s: accepted", name)
			continue
		}
		if !strings.Contains(err.Error(), "openssl rand -base64 32") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := state.NewSealer(newKey() + " , " + newKey()); err != nil {
		t.Error(err)
	}
}

func TestCredentialsAreSealedAndKeysRotate(t *testing.T) {
	t.Parallel()
	url := postgres.ForTest(t, major).NewDatabase(t, false).URL()
	before, after := newKey(), newKey()
	first := open(t, url, before)
	mustCreate(t, first, "00000001")
	mustCreate(t, first, "00000002")

	var sealed []byte
	if err := first.Pool().QueryRow(t.Context(), `SELECT credentials FROM migrations WHERE id = '00000001'`).Scan(&sealed); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte(password)) {
		t.Error("the credentials are stored in the clear")
	}

	// A new key in front: what the old one sealed opens, what is sealed now needs the new one.
	both := open(t, url, after+","+before)
	if got, err := both.Credentials(t.Context(), "00000001"); err != nil || string(got) != password {
		t.Errorf("with both keys: %q, %v", got, err)
	}
	if err := both.SaveCredentials(t.Context(), "00000001", state.Names{}, []byte("changed"), []string{fresh}, false); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Credentials(t.Context(), "00000001"); err == nil || strings.Contains(err.Error(), "changed") {
		t.Errorf("with the old key alone: %v", err)
	}
	second := open(t, url, after)
	if got, err := second.Credentials(t.Context(), "00000001"); err != nil || string(got) != "changed" {
		t.Errorf("with the new key alone: %q, %v", got, err)
	}
	if _, err := second.Credentials(t.Context(), "00000002"); err == nil {
		t.Error("the new key opens what the old one sealed")
	}

	// What belongs to one row does not open in another, and what was changed does not open at all.
	if _, err := first.Pool().Exec(t.Context(), `UPDATE migrations SET credentials = $1 WHERE id = '00000002'`, sealed); err != nil {
		t.Fatal(err)
	}
	if _, err := both.Credentials(t.Context(), "00000002"); err == nil {
		t.Error("credentials could be moved to another row")
	}
	for _, broken := range [][]byte{{}, sealed[:5], append(bytes.Clone(sealed[:len(sealed)-1]), sealed[len(sealed)-1]^1)} {
		if _, err := first.Pool().Exec(t.Context(), `UPDATE migrations SET credentials = $1 WHERE id = '00000001'`, broken); err != nil {
			t.Fatal(err)
		}
		if _, err := both.Credentials(t.Context(), "00000001"); err == nil {
			t.Errorf("%d broken bytes were opened", len(broken))
		}
	}
}

func TestCredentialsAreForgotten(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	if err := mustLease(t, s, "00000001", "a", long).ForgetCredentials(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Credentials(t.Context(), "00000001"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("after they were forgotten: %v", err)
	}
	// A call that began before the end, and comes too late, brings nothing back.
	if _, err := s.Pool().Exec(t.Context(), `UPDATE migrations SET replication_status = $1`, good); err != nil {
		t.Fatal(err)
	}
	for _, removal := range []bool{false, true} {
		if err := s.SaveCredentials(t.Context(), "00000001", state.Names{}, []byte(password), []string{fresh, busy}, removal); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Credentials(t.Context(), "00000001"); errors.Is(err, state.ErrNotFound) == removal {
			t.Errorf("after the end, for a removal %t: %v", removal, err)
		}
	}
	if _, err := s.Credentials(t.Context(), "ffffffff"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("of no migration: %v", err)
	}
}

func TestInstancesThatStartTogether(t *testing.T) {
	t.Parallel()
	url := postgres.ForTest(t, major).NewDatabase(t, false).URL()
	sealer, err := state.NewSealer(newKey())
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			s, err := state.Open(t.Context(), url, sealer)
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestAnErrorOfTheAddressHoldsNoPassword(t *testing.T) {
	t.Parallel()
	sealer, err := state.NewSealer(newKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, url := range []string{
		"postgres://user:" + password + "@127.0.0.1:1/db",
		"postgres://user:" + password + "@127.0.0.1:port/db",
		"host=127.0.0.1 port=1 user=u password=" + password + " sslmode=nonsense",
	} {
		_, err := state.Open(t.Context(), url, sealer)
		if err == nil || strings.Contains(err.Error(), password) {
			t.Errorf("%v", err)
		}
	}
}

func TestOneMigrationOfASourceAndIntoATarget(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if err := create(t.Context(), s, "00000001", "a", "b"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		source, target string
		want           error
	}{{"a", "b", state.ErrExists}, {"a", "c", state.ErrSourceTaken}, {"c", "b", state.ErrTargetTaken}, {"c", "d", nil}} {
		if err := create(t.Context(), s, "0000000"+c.source, c.source, c.target); !errors.Is(err, c.want) {
			t.Errorf("%s to %s: %v", c.source, c.target, err)
		}
	}
	if _, err := s.Find(t.Context(), "b", "a"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("the other way round: %v", err)
	}
}

func TestOfManyCreationsAtOnceOneSucceeds(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	const callers = 8
	results := make(chan error, callers)
	for i := range callers {
		go func() { results <- create(t.Context(), s, fmt.Sprintf("%08x", i), "a", "b") }()
	}
	succeeded := 0
	for range callers {
		switch err := <-results; {
		case err == nil:
			succeeded++
		case !errors.Is(err, state.ErrExists) && !errors.Is(err, state.ErrSourceTaken) && !errors.Is(err, state.ErrTargetTaken):
			t.Error(err)
		}
	}
	if succeeded != 1 {
		t.Errorf("%d succeeded", succeeded)
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	first := mustLease(t, s, "00000001", "a", brief)
	if _, _, err := s.TakeLease(t.Context(), "00000001", "b", long); !errors.Is(err, state.ErrLeaseLost) {
		t.Errorf("a lease that is held: %v", err)
	}
	time.Sleep(2 * brief)
	second, m, err := s.TakeLease(t.Context(), "00000001", "b", long)
	if err != nil || m.Epoch != 2 {
		t.Fatalf("a lease that ran out: %v, epoch %d", err, m.Epoch)
	}
	for what, do := range map[string]func() error{
		"renew":              func() error { return first.Renew(t.Context(), long) },
		"save replication":   func() error { return first.SaveReplication(t.Context(), to(bad), nil, nil) },
		"save finalization":  func() error { return first.SaveFinalization(t.Context(), to(good), nil, nil) },
		"forget":             func() error { return first.ForgetFinalization(t.Context(), anything) },
		"save opened":        func() error { return first.SaveOpened(t.Context()) },
		"forget credentials": func() error { return first.ForgetCredentials(t.Context()) },
		"read credentials":   func() error { _, err := first.Credentials(t.Context()); return err },
		"release":            func() error { return first.Release(t.Context()) },
		"delete":             func() error { return first.Delete(t.Context()) },
	} {
		if err := do(); !errors.Is(err, state.ErrLeaseLost) {
			t.Errorf("%s with a lost lease: %v", what, err)
		}
	}
	if m, err := s.Get(t.Context(), "00000001"); err != nil || m.ReplicationStatus != fresh || m.FinalizationStatus != "" || m.Opened {
		t.Errorf("the worker without a lease changed the row: %+v, %v", m, err)
	}
	if err := second.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	third, m, err := s.TakeLease(t.Context(), "00000001", "a", long)
	if err != nil || m.Epoch != 3 {
		t.Fatalf("a lease that was given back: %v", err)
	}
	if err := third.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.TakeLease(t.Context(), "00000001", "a", long); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("a lease of nothing: %v", err)
	}
}

func TestTheSameOwnerDoesNotTakeItsLeaseTwice(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	mustLease(t, s, "00000001", "a", long)
	if _, _, err := s.TakeLease(t.Context(), "00000001", "a", long); !errors.Is(err, state.ErrLeaseLost) {
		t.Errorf("two jobs of one instance: %v", err)
	}
}

func TestProgressIsKept(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	lease := mustLease(t, s, "00000001", "a", long)
	get := func() *state.Migration {
		t.Helper()
		m, err := s.Get(t.Context(), "00000001")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	steps := []func() error{
		func() error { return lease.SaveReplication(t.Context(), to(busy), nil, []byte(`{"n": 1}`)) },
		func() error { return lease.SaveReplication(t.Context(), to(bad), []byte(`{"code": "X"}`), nil) },
		func() error { return lease.SaveReplication(t.Context(), to(fresh), nil, nil) },
	}
	for i, c := range []struct {
		status, failure, progress string
		finished                  bool
	}{{busy, "", `{"n": 1}`, false}, {bad, `{"code": "X"}`, `{"n": 1}`, true}, {fresh, "", `{"n": 1}`, false}} {
		if err := steps[i](); err != nil {
			t.Fatal(err)
		}
		m := get()
		if m.ReplicationStatus != c.status || string(m.ReplicationFailure) != c.failure || string(m.ReplicationProgress) != c.progress ||
			m.StartedAt == nil || (m.FinishedAt != nil) != c.finished {
			t.Errorf("step %d: %+v", i, m)
		}
	}

	if err := s.InTx(t.Context(), func(tx pgx.Tx) error { return s.RequestFinalization(t.Context(), tx, "00000001", to(fresh)) }); err != nil {
		t.Fatal(err)
	}
	if err := lease.SaveFinalization(t.Context(), to(bad), []byte(`{"code": "Y"}`), []byte(`{"n": 2}`)); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationStatus != bad || m.FinalizationFinishedAt == nil || string(m.FinalizationProgress) != `{"n": 2}` {
		t.Errorf("a failed finalization: %+v", m)
	}
	if err := lease.AmendFinalization(t.Context(), bad, []byte(`{"n": 3}`)); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationStatus != bad || string(m.FinalizationFailure) != `{"code": "Y"}` || string(m.FinalizationProgress) != `{"n": 3}` {
		t.Errorf("a failed finalization, amended: %+v", m)
	}
	// A new one knows nothing of the old one.
	if err := s.InTx(t.Context(), func(tx pgx.Tx) error { return s.RequestFinalization(t.Context(), tx, "00000001", to(fresh)) }); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationStatus != fresh || m.FinalizationFailure != nil || m.FinalizationProgress != nil || m.FinalizationFinishedAt != nil {
		t.Errorf("a new finalization: %+v", m)
	}
	if err := lease.AmendFinalization(t.Context(), bad, []byte(`{"n": 4}`)); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationProgress != nil {
		t.Errorf("a new finalization has the progress of the old one: %+v", m)
	}
	// Only what the user has given up is forgotten.
	if err := lease.ForgetFinalization(t.Context(), anything); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationStatus == "" {
		t.Error("a finalization that nobody cancelled was forgotten")
	}
	if err := s.InTx(t.Context(), func(tx pgx.Tx) error { return s.CancelFinalization(t.Context(), tx, "00000001") }); err != nil {
		t.Fatal(err)
	}
	if err := lease.ForgetFinalization(t.Context(), anything); err != nil {
		t.Fatal(err)
	}
	if m := get(); m.FinalizationStatus != "" || m.FinalizationCancelled {
		t.Errorf("a cancelled finalization: %+v", m)
	}
}

func TestAReplicationTakesItsFinalizationWithIt(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	lease := mustLease(t, s, "00000001", "a", long)
	change := to(bad)
	change.Takes = []string{fresh, busy}
	for before, want := range map[string]string{fresh: `bad {"code": "X"} true`, busy: `bad {"code": "X"} true`, good: "good  false", "other": "other  false"} {
		if err := s.InTx(t.Context(), func(tx pgx.Tx) error {
			return s.RequestFinalization(t.Context(), tx, "00000001", state.Change{To: before, From: append(anything, "other")})
		}); err != nil {
			t.Fatal(err)
		}
		if err := lease.SaveReplication(t.Context(), change, []byte(`{"code": "X"}`), nil); err != nil {
			t.Fatal(err)
		}
		m, err := s.Get(t.Context(), "00000001")
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%s %s %t", m.FinalizationStatus, m.FinalizationFailure, m.FinalizationFinishedAt != nil); got != want {
			t.Errorf("%s becomes %s", before, got)
		}
	}
}

// Trap 61: what nobody works on any more is found.
func TestOrphans(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	for id, prepare := range map[string]func(id string){
		"00000001": func(string) {}, // never begun
		"00000002": func(id string) { mustLease(t, s, id, "alive", long) },
		"00000003": func(id string) { mustLease(t, s, id, "dead", -brief) },
		"00000004": func(id string) { // failed: nothing to do
			lease := mustLease(t, s, id, "a", long)
			if err := errors.Join(lease.SaveReplication(ctx, to(bad), nil, nil), lease.Release(ctx)); err != nil {
				t.Fatal(err)
			}
		},
		"00000005": func(id string) { // completed, and to be removed
			lease := mustLease(t, s, id, "a", long)
			removal := s.InTx(ctx, func(tx pgx.Tx) error { return s.RequestRemoval(ctx, tx, id, true) })
			if err := errors.Join(lease.SaveReplication(ctx, to(good), nil, nil), removal, lease.Release(ctx)); err != nil {
				t.Fatal(err)
			}
		},
	} {
		mustCreate(t, s, id)
		prepare(id)
	}
	found := func(again time.Duration, fail error) (ids string) {
		t.Helper()
		var list []string
		n, err := s.Orphans(ctx, []string{fresh, busy}, again, func(_ context.Context, _ pgx.Tx, id string) error {
			list = append(list, id)
			return fail
		})
		if !errors.Is(err, fail) || (fail == nil && n != len(list)) {
			t.Fatalf("%d, %v", n, err)
		}
		return strings.Join(list, " ")
	}
	sorted := func(ids string) string {
		var list []string
		for _, id := range []string{"00000001", "00000002", "00000003", "00000004", "00000005"} {
			if strings.Contains(ids, id) {
				list = append(list, id)
			}
		}
		return strings.Join(list, " ")
	}
	// A worker that gave its lease back is replaced at once, the others when their job had its time.
	if got := sorted(found(long/2, nil)); got != "00000005" {
		t.Errorf("at once: %s", got)
	}
	if got := found(0, errors.New("queue full")); got == "" {
		t.Error("nothing found")
	}
	if got := sorted(found(0, nil)); got != "00000001 00000003 00000005" {
		t.Errorf("in the end: %s", got)
	}
	if got := found(long, nil); got != "" {
		t.Errorf("again too early: %s", got)
	}
}

func TestTotals(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	if totals, err := s.Totals(t.Context()); err != nil || len(totals.ByStatus) > 0 || totals.CopiedBytes != 0 {
		t.Errorf("of nothing: %+v, %v", totals, err)
	}
	for id, progress := range map[string]string{
		"00000001": `{"bytes_copied": 5000000000, "lag_bytes": 3}`, "00000002": `{"bytes_copied": 7, "lag_bytes": 9}`, "00000003": `{"bytes_copied": 1}`,
	} {
		mustCreate(t, s, id)
		if err := mustLease(t, s, id, "a", long).SaveReplication(t.Context(), to(busy), nil, []byte(progress)); err != nil {
			t.Fatal(err)
		}
	}
	mustCreate(t, s, "00000004")
	totals, err := s.Totals(t.Context())
	if err != nil || fmt.Sprint(totals) != "{map[busy:3 fresh:1] 5000000008 9}" {
		t.Errorf("%v, %v", totals, err)
	}
}

func TestEventsOutliveTheMigration(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	mustCreate(t, s, "00000001")
	if err := s.AddEvent(t.Context(), s.Pool(), "00000001", "removed", "by its owner"); err != nil {
		t.Fatal(err)
	}
	if err := mustLease(t, s, "00000001", "a", long).Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	var events int
	if err := s.Pool().QueryRow(t.Context(), `SELECT count(*) FROM events WHERE migration_id = '00000001'`).Scan(&events); err != nil || events != 1 {
		t.Errorf("%d events, %v", events, err)
	}
}
