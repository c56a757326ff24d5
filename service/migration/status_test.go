package migration_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/api"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/migration"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/state"
)

// The ways are drawn once more here, so that whoever changes the table has to mean it.
const (
	replicationWays = `
		from\to    NONE  WAITING  RUNNING  IN-SYNC  FAILED  COMPLETED
		WAITING     -       -        +        +       +         +
		RUNNING     -       -        +        +       +         +
		IN-SYNC     -       -        +        +       +         +
		FAILED      -       -        -        -       +         -
		COMPLETED   -       -        -        -       +         -`
	finalizationWays = `
		from\to    NONE  WAITING  RUNNING  IN-SYNC  FAILED  COMPLETED
		NONE        +       +        -        -       -         +
		WAITING     +       -        +        -       +         +
		RUNNING     +       -        +        -       +         +
		IN-SYNC     -       -        -        -       -         -
		FAILED      +       +        -        -       +         +
		COMPLETED   -       -        -        -       -         +`
)

// way is a pair of statuses.
type way struct {
	from, to migration.Status
	open     bool
}

func (w way) String() string { return fmt.Sprintf("%q to %q", w.from, w.to) }

// ways reads a drawing.
func ways(drawing string) (all []way) {
	status := func(word string) migration.Status { return migration.Status(strings.Replace(word, "NONE", "", 1)) }
	lines := strings.Split(strings.TrimSpace(drawing), "\n")
	head := strings.Fields(lines[0])
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		for i := 1; i < len(head); i++ {
			all = append(all, way{status(cells[0]), status(head[i]), cells[i] == "+"})
		}
	}
	return all
}

func isRefused(t *testing.T, err error, of string, w way) bool {
	t.Helper()
	var refusal *migration.TransitionError
	if !errors.As(err, &refusal) {
		return false
	}
	if *refusal != (migration.TransitionError{Of: of, From: w.from, To: w.to}) {
		t.Errorf("%s: refused as %+v", w, *refusal)
	}
	return true
}

func TestTheTableNamesTheWays(t *testing.T) {
	t.Parallel()
	for _, w := range append(ways(replicationWays), way{"", migration.Waiting, true}, way{"", migration.Running, false}) {
		if err := migration.CheckReplication(w.from, w.to); isRefused(t, err, "replication", w) == w.open || (w.open && err != nil) {
			t.Errorf("a replication from %s: %v", w, err)
		}
	}
	for _, w := range ways(finalizationWays) {
		if err := migration.CheckFinalization(w.from, w.to); isRefused(t, err, "finalization", w) == w.open || (w.open && err != nil) {
			t.Errorf("a finalization from %s: %v", w, err)
		}
	}
	// No status was added without its ways.
	if n := len(migration.Statuses()); len(ways(finalizationWays)) != n*n || len(ways(replicationWays)) != n*(n-1) {
		t.Errorf("the table has %d statuses", n)
	}
	if migration.CheckReplication("PAUSED", migration.Running) == nil || migration.CheckReplication(migration.Running, "PAUSED") == nil {
		t.Error("a status that there is not has a way")
	}
	for status, c := range map[migration.Status]struct{ ended, needsWorker bool }{
		migration.None: {}, migration.Waiting: {needsWorker: true}, migration.Running: {needsWorker: true}, migration.InSync: {needsWorker: true},
		migration.Failed: {ended: true}, migration.Completed: {ended: true},
	} {
		if status.Ended() != c.ended || status.NeedsWorker() != c.needsWorker {
			t.Errorf("%q: ended %t, needs a worker %t", status, status.Ended(), status.NeedsWorker())
		}
	}
}

func TestStatusesAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	for _, status := range migration.Statuses() {
		if status == migration.None {
			continue
		}
		if !api.ReplicationStatus(status).Valid() || api.FinalizationStatus(status).Valid() == (status == migration.InSync) {
			t.Errorf("%s", status)
		}
	}
}

// held is a house with a migration that no worker drives but the test.
type held struct {
	*house
	id    string
	lease *state.Lease
}

func newHeld(t *testing.T) *held {
	t.Helper()
	h := newHouse(t)
	h.must(h.CreateReplication(t.Context(), token, names))
	m, err := h.store.Find(t.Context(), "source", "target")
	h.must(err)
	lease, _, err := h.store.TakeLease(t.Context(), m.ID, "the test", time.Hour)
	h.must(err)
	return &held{house: h, id: m.ID, lease: lease}
}

// is gives the row its statuses, and nothing else.
func (h *held) is(replication, finalization migration.Status) {
	h.t.Helper()
	h.exec(`UPDATE migrations SET replication_status = $1, replication_failure = NULL, replication_progress = NULL, started_at = NULL, finished_at = NULL,
		finalization_status = nullif($2, ''), finalization_failure = NULL, finalization_progress = NULL, finalization_cancelled = true,
		finalization_started_at = NULL, finalization_finished_at = NULL`, string(replication), string(finalization))
}

func (h *held) row() *state.Migration {
	h.t.Helper()
	m, err := h.store.Get(h.t.Context(), h.id)
	h.must(err)
	return m
}

// text is all that is in the row.
func (h *held) text() (text string) {
	h.t.Helper()
	h.must(h.store.Pool().QueryRow(h.t.Context(), `SELECT to_jsonb(m)::text FROM migrations m`).Scan(&text))
	return text
}

var reason = &migration.Failure{Code: "X", Message: "m"}

func TestAReplicationGoesOnlyTheWaysOfTheTable(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	for _, w := range ways(replicationWays) {
		for _, finalization := range []migration.Status{migration.None, migration.Waiting, migration.Running, migration.Failed, migration.Completed} {
			h.is(w.from, finalization)
			before := h.text()
			err := migration.StoreReplication(t.Context(), h.lease, w.to, reason, []byte(`{}`))
			if !w.open {
				if !isRefused(t, err, "replication", w) {
					t.Errorf("%s: %v", w, err)
				}
				if after := h.text(); after != before {
					t.Errorf("%s: the row was\n%s\nand is\n%s", w, before, after)
				}
				continue
			}
			h.must(err)
			m := h.row()
			if m.ReplicationStatus != string(w.to) || m.ReplicationFailure == nil || m.ReplicationProgress == nil || m.StartedAt == nil || (m.FinishedAt != nil) != w.to.Ended() {
				t.Errorf("%s: %+v", w, m)
			}
			if w.to == migration.Failed && finalization.NeedsWorker() {
				if m.FinalizationStatus != string(migration.Failed) || m.FinalizationFailure == nil || m.FinalizationFinishedAt == nil {
					t.Errorf("%s does not take its finalization with it that is %q: %+v", w, finalization, m)
				}
			} else if m.FinalizationStatus != string(finalization) || m.FinalizationFailure != nil || m.FinalizationFinishedAt != nil {
				t.Errorf("%s changes its finalization that is %q: %+v", w, finalization, m)
			}
		}
	}
}

func TestAFinalizationGoesOnlyTheWaysOfTheTable(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	store := func(do func(pgx.Tx) error) error { return h.store.InTx(t.Context(), do) }
	request := func() error {
		return store(func(tx pgx.Tx) error { return migration.RequestFinalization(t.Context(), h.store, tx, h.id) })
	}
	drop := func() error {
		return store(func(tx pgx.Tx) error { return migration.DropFinalization(t.Context(), h.store, tx, h.id) })
	}
	forget := func() error { return migration.ForgetFinalization(t.Context(), h.lease) }
	for _, w := range ways(finalizationWays) {
		// A finalization is asked for and removed in ways of its own.
		changes := map[migration.Status][]func() error{migration.None: {forget, drop}, migration.Waiting: {request}}[w.to]
		if changes == nil {
			changes = append(changes, func() error {
				return migration.StoreFinalization(t.Context(), h.lease, w.to, reason, []byte(`{}`))
			})
		}
		for _, change := range changes {
			h.is(migration.InSync, w.from)
			before := h.text()
			err := change()
			if !w.open {
				if !isRefused(t, err, "finalization", w) {
					t.Errorf("%s: %v", w, err)
				}
				if after := h.text(); after != before {
					t.Errorf("%s: the row was\n%s\nand is\n%s", w, before, after)
				}
				continue
			}
			h.must(err)
			m := h.row()
			told := w.to != migration.None && w.to != migration.Waiting
			if m.FinalizationStatus != string(w.to) || (m.FinalizationFailure != nil) != told || (m.FinalizationProgress != nil) != told ||
				(m.FinalizationFinishedAt != nil) != w.to.Ended() || m.ReplicationStatus != string(migration.InSync) {
				t.Errorf("%s: %+v", w, m)
			}
		}
	}
}

// What nobody has given up is not forgotten, and that is no error.
func TestOnlyAFinalizationThatWasGivenUpIsForgotten(t *testing.T) {
	t.Parallel()
	h := newHeld(t)
	h.is(migration.InSync, migration.Running)
	h.exec(`UPDATE migrations SET finalization_cancelled = false`)
	h.must(migration.ForgetFinalization(t.Context(), h.lease))
	if m := h.row(); m.FinalizationStatus != string(migration.Running) {
		t.Errorf("%+v", m)
	}
}

// The storage takes statuses as they come: their words are in its tests only.
func TestTheStorageKnowsNoStatus(t *testing.T) {
	t.Parallel()
	var words []string
	for _, status := range migration.Statuses() {
		if status != migration.None {
			words = append(words, regexp.QuoteMeta(string(status)))
		}
	}
	word := regexp.MustCompile(`\b(` + strings.Join(words, "|") + `)\b`)
	files := 0
	for _, pattern := range []string{"../state/*.go", "../state/schema/*.sql"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			files++
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(text), "\n") {
				if found := word.FindString(line); found != "" {
					t.Errorf("%s:%d has %s", name, i+1, found)
				}
			}
		}
	}
	if files < 4 {
		t.Errorf("only %d files were read", files)
	}
}
