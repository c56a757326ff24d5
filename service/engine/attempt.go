package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/capture"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/fence"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/ledger"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/preflight"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/schema"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/snapshot"
)

// attempt is one try to bring the migration forward, from wherever the ledger says it is to the end of the stream.
type attempt struct {
	*Replication
	from, to endpoint
	source   *pgx.Conn
	target   *pgx.Conn
	capture  capture.Source
}

// attempt runs until something ends it. nil means that the migration is finalized. healthy is set whenever both databases
// were reached.
func (r *Replication) attempt(ctx context.Context, healthy *time.Time) error {
	from, to, err := r.endpoints(ctx)
	if err != nil {
		return err
	}
	a := &attempt{Replication: r, from: from, to: to}
	if a.target, err = to.Connect(ctx); err != nil {
		return r.firstContact(ctx, err)
	}
	defer closeConn(ctx, a.target)
	progress, err := r.ledger.TakeOver(ctx, a.target)
	if err != nil {
		return err
	}
	if progress.Stage == ledger.StageNone && r.migration.Opened {
		return nil // the ledger is the last thing that a finished migration removes
	}
	if a.source, err = from.Connect(ctx); err != nil {
		if progress.Stage == ledger.StageNone {
			return r.firstContact(ctx, err)
		}
		return err
	}
	defer closeConn(ctx, a.source)
	a.capture = capture.Source{ID: r.migration.ID, Conn: a.source}
	*healthy = time.Now()
	if progress.Stage != ledger.StageNone {
		r.setMethod(progress.Method, progress.Reason)
	}

	if progress.Stage == ledger.StageOpened {
		a.unfenced() // a finalization that could not know whether it had opened the target
		return a.release(ctx, &fence.Fence{Schema: capture.Schema(r.migration.ID), Dial: from.Connect})
	}
	var first *base
	if progress.Stage == ledger.StageNone {
		if first, err = a.begin(ctx); err != nil {
			return err
		}
		progress.Stage = ledger.StageCopying
	} else if err := a.checkSource(ctx, progress); err != nil {
		return err
	}
	if progress.Stage == ledger.StageSchema {
		a.setPhase(PhaseSchema)
		if err := a.createSchema(ctx); err != nil {
			return err
		}
		progress.Stage = ledger.StageCopying
	}
	*healthy = time.Now()
	if a.offline() {
		err = a.await(ctx)
		*healthy = time.Now()
		return err
	}
	err = a.whileWatched(ctx, func(ctx context.Context) error {
		if progress.Stage == ledger.StageCopying {
			err := a.fill(ctx, first)
			*healthy = time.Now() // a copy of hours that breaks off is tried again
			if err != nil {
				return err
			}
		}
		err := a.becauseTruncated(ctx, a.stream(ctx))
		*healthy = time.Now()
		return err
	})
	return a.copyAgain(ctx, a.target, err)
}

// firstContact turns a connection that fails before anything was made into the preflight check's text; the check opens its
// own connections, so that what was a passing fault is simply tried again.
func (r *Replication) firstContact(ctx context.Context, err error) error {
	// A migration that another worker or attempt may have begun is not ended by a database that is away for a while.
	if r.begun() {
		return err
	}
	source, target, dbErr := r.migration.Databases(ctx)
	if dbErr != nil {
		return dbErr
	}
	if _, checkErr := r.check(ctx, source, target); checkErr != nil {
		return checkErr
	}
	return err
}

// begun says whether this worker has made something, or an earlier one may have.
func (r *Replication) begun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.prepared || r.migration.Epoch > 1
}

// check makes the preflight check; critical findings are a *Failure.
func (r *Replication) check(ctx context.Context, source, target Database) (preflight.Report, error) {
	report, err := r.engine.preflight(ctx, r.migration.ID, source, target)
	if err != nil || !report.Critical() {
		return report, err
	}
	texts := append(report.Texts(preflight.Source, preflight.Critical), report.Texts(preflight.Target, preflight.Critical)...)
	return report, &Failure{
		Code:      CodePreflightCritical,
		Message:   "The preflight check found critical issues: " + strings.Join(texts, "; "),
		Hint:      "Mend them ('cf pg-migrate preflight-check' shows them all), then delete the replication and create it again.",
		Untouched: !r.begun(),
	}
}

// checkSource makes sure that the source is not left fenced, is the one that was replicated, and has the slot still.
func (a *attempt) checkSource(ctx context.Context, known ledger.Progress) error {
	f := &fence.Fence{Schema: capture.Schema(a.migration.ID), Dial: a.from.Connect}
	if err := f.Lift(ctx, a.source); err != nil {
		return err
	}
	a.unfenced()
	if a.offline() {
		return a.loadTables(ctx)
	}
	replication, err := a.from.ConnectReplication(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }()
	if err := a.checkHistory(ctx, replication, known); err != nil {
		return err
	}
	if _, err := a.checkSlot(ctx); err != nil {
		return err
	}
	return a.loadTables(ctx)
}

// checkSlot gives the state of the slot, or a *Failure when changes are lost with it.
func (a *attempt) checkSlot(ctx context.Context) (capture.SlotState, error) {
	state, err := a.capture.SlotState(ctx)
	if err == nil {
		err = a.slotFailure(state)
	}
	return state, err
}

// slotFailure says that changes are lost with the slot; else it is nil.
func (a *attempt) slotFailure(state capture.SlotState) error {
	switch {
	case !state.Exists:
		return &Failure{
			Code:    CodeSlotLost,
			Message: fmt.Sprintf("The replication slot %s is gone from the source: somebody dropped it, or the source failed over", capture.Slot(a.migration.ID)),
			Hint:    startAgain,
		}
	case state.Lost:
		return &Failure{
			Code:    CodeSlotLost,
			Message: fmt.Sprintf("The source removed WAL that replication slot %s still needed (max_slot_wal_keep_size)", capture.Slot(a.migration.ID)),
			Hint:    startAgain,
		}
	}
	return nil
}

// base is what tables are copied from: a slot's snapshot, kept alive, and the tables in it.
type base struct {
	*snapshot.Keeper
	history   capture.History
	tables    []catalog.Table
	rewritten bool // one of them was truncated or rewritten while the slot was made
}

// slotTries is how many slots are made at most to get one during which no table was truncated or rewritten. PostgreSQL may be
// unable to decode what comes after such a one (CodeUndecodable), if transactions overlap in just that way.
const slotTries = 10

// begin takes the migration from nothing to a target that holds the schema and the ledger. The snapshot that it gives is the
// slot's, nil with the offline method; the caller closes it.
func (a *attempt) begin(ctx context.Context) (*base, error) {
	a.setPhase(PhasePreparing)
	report, err := a.check(ctx, a.from.database, a.to.database)
	if err != nil {
		return nil, err
	}
	if len(report.Offline) > 0 {
		a.setMethod(ledger.Offline, strings.Join(report.Offline, "; "))
	} else {
		a.setMethod(ledger.Logical, logicalReason)
	}
	a.mu.Lock()
	a.prepared = true
	a.mu.Unlock()
	if a.offline() {
		return nil, a.beginOffline(ctx)
	}
	tables, err := a.readTables(ctx, a.source)
	if err != nil {
		return nil, err
	}
	if err := a.capture.Prepare(ctx, tables); err != nil {
		return nil, err
	}
	a.setPhase(PhaseSnapshot)
	var from *base
	for try := 1; ; try++ {
		// A slot from a broken-off beginning is of no use: its snapshot is gone, and nothing was copied.
		if err := a.capture.DropSlot(ctx, a.from.ConnectReplication); err != nil {
			return nil, err
		}
		from, err = a.takeSnapshot(ctx, func(ctx context.Context, replication *pgconn.PgConn) (capture.Point, error) {
			return capture.CreateSlot(ctx, replication, a.migration.ID)
		})
		if err != nil {
			return nil, err
		}
		if !from.rewritten {
			break
		}
		if try == slotTries {
			a.warn("Tables are truncated or rewritten all the time. The source may be unable to decode its WAL, which ends the replication")
			break
		}
		from.Close(ctx)
		a.log.Info("a table was truncated or rewritten while the slot was made", "slots", try)
	}
	a.setPhase(PhaseSchema)
	if err := a.copySchema(ctx, from); err != nil {
		from.Close(ctx)
		return nil, err
	}
	return from, nil
}

// takeSnapshot creates a slot and gives its snapshot and the tables in it. The tables' filenodes are those of before the
// slot, so that a later comparison shows every rewrite. The caller closes it.
func (a *attempt) takeSnapshot(ctx context.Context, create func(context.Context, *pgconn.PgConn) (capture.Point, error)) (*base, error) {
	before, err := a.readTables(ctx, a.source)
	if err != nil {
		return nil, err
	}
	replication, err := a.from.ConnectReplication(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = replication.Close(context.WithoutCancel(ctx)) }()
	history, _, err := capture.Identify(ctx, replication)
	if err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, a.engine.Settings.SlotWait)
	defer cancel()
	point, err := create(limited, replication)
	if err != nil {
		if limited.Err() != nil && ctx.Err() == nil {
			return nil, &Failure{
				Code:    CodeTimeout,
				Message: "The replication slot could not be created in " + a.engine.Settings.SlotWait.String() + ": a write transaction on the source does not end",
				Hint:    "End long-running transactions on the source, then delete the replication and create it again.",
			}
		}
		return nil, err
	}
	keeper, err := snapshot.Keep(ctx, a.from.Connect, point.Snapshot, point.LSN)
	if err != nil {
		return nil, err
	}
	tables, err := catalog.Tables(ctx, keeper.Conn())
	if err == nil && !slices.EqualFunc(before, tables, func(x, y catalog.Table) bool { return x.OID == y.OID }) {
		err = errMoved
	}
	if err != nil {
		keeper.Close(ctx)
		return nil, err
	}
	b := &base{Keeper: keeper, history: history, tables: tables}
	for i := range tables {
		b.rewritten = b.rewritten || tables[i].Filenode != before[i].Filenode
		tables[i].Filenode = before[i].Filenode
	}
	return b, nil
}

// readTables reads the tables under one snapshot.
func (a *attempt) readTables(ctx context.Context, conn *pgx.Conn) (tables []catalog.Table, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		tables, err = catalog.Tables(ctx, tx)
		return err
	})
	return tables, err
}

const existingSQL = `
SELECT 'EXTENSION ' || extname FROM pg_catalog.pg_extension
UNION ALL
SELECT 'SCHEMA ' || nspname FROM pg_catalog.pg_namespace`

// existingOnTarget gives the extensions and schemas of the target, as [schema.Options] wants them.
func existingOnTarget(ctx context.Context, target *pgx.Conn) (map[string]bool, error) {
	rows, err := target.Query(ctx, existingSQL)
	if err != nil {
		return nil, fmt.Errorf("reading what the target holds: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("reading what the target holds: %w", err)
	}
	existing := make(map[string]bool, len(names))
	for _, name := range names {
		existing[name] = true
	}
	return existing, nil
}

// copySchema makes the ledger on the target, and creates there all that must be there before the data.
func (a *attempt) copySchema(ctx context.Context, from *base) error {
	fingerprint, err := catalog.ReadFingerprint(ctx, from.Conn())
	if err != nil {
		return err
	}
	checks, err := schema.Checks(ctx, from.Conn())
	if err != nil {
		return err
	}
	existing, err := existingOnTarget(ctx, a.target)
	if err != nil {
		return err
	}
	connection, remove, err := a.from.libpq()
	if err != nil {
		return err
	}
	defer remove()
	tools := schema.Tools{PgDump: a.engine.Settings.PgDump, PgRestore: a.engine.Settings.PgRestore}
	dump, err := tools.Read(ctx, connection, schema.Options{
		Snapshot: from.Name, Encoding: clientEncoding(from.Conn()), ExcludeSchema: capture.Schema(a.migration.ID), Existing: existing,
	})
	if err != nil {
		return schemaFailure(ctx, err)
	}
	a.mu.Lock()
	start := ledger.Start{
		Method: a.method, Reason: a.methodReason, History: from.history,
		DropSQL: dump.DropSQL, Tables: from.tables, Fingerprint: fingerprint,
	}
	a.mu.Unlock()
	err = pgx.BeginFunc(ctx, a.target, func(tx pgx.Tx) error {
		if err := a.ledger.Create(ctx, tx, start); err != nil {
			return err
		}
		if err := schema.StoreChecks(ctx, tx, checks); err != nil {
			return err
		}
		return schema.Store(ctx, tx, dump, false)
	})
	if err != nil {
		return schemaFailure(ctx, err)
	}
	return a.createSchema(ctx)
}

// createSchema creates on the target what must be there before the data and is not there yet. That takes many transactions:
// one that locks tens of thousands of relations finds no room for that on most servers.
func (a *attempt) createSchema(ctx context.Context) error {
	entries, err := schema.Pending(ctx, a.target, schema.BeforeData)
	if err != nil {
		return err
	}
	if err := a.createEntries(ctx, a.target, entries...); err != nil {
		return err
	}
	if err := a.openIdentities(ctx); err != nil {
		return err
	}
	err = schema.TakeChecks(ctx, a.target, func(tx pgx.Tx) error { return a.ledger.CheckEpoch(ctx, tx) })
	if err != nil {
		return schemaFailure(ctx, err)
	}
	return a.ledger.SetStage(ctx, a.target, ledger.StageCopying)
}

// identitiesPerBatch bounds the locks that a transaction takes.
const identitiesPerBatch = 200

// openIdentities lets the apply write identity columns; the finalization makes them ALWAYS again.
func (a *attempt) openIdentities(ctx context.Context) error {
	columns, err := catalog.AlwaysIdentities(ctx, a.target)
	if err != nil {
		return err
	}
	wanted, err := catalog.AlwaysIdentities(ctx, a.source)
	if err != nil {
		return err
	}
	fromSource := make(map[catalog.IdentityColumn]bool, len(wanted))
	for _, c := range wanted {
		fromSource[c] = true
	}
	columns = slices.DeleteFunc(columns, func(c catalog.IdentityColumn) bool { return !fromSource[c] })
	for batch := range slices.Chunk(columns, identitiesPerBatch) {
		err := pgx.BeginFunc(ctx, a.target, func(tx pgx.Tx) error {
			if err := catalog.SetAllGenerated(ctx, tx, batch, "BY DEFAULT"); err != nil {
				return err
			}
			return a.ledger.CheckEpoch(ctx, tx)
		})
		if err != nil {
			return schemaFailure(ctx, err)
		}
	}
	return nil
}

// schemaFailure makes a Failure of an error that another attempt would only meet again.
func schemaFailure(ctx context.Context, err error) error {
	var pg *pgconn.PgError
	if ctx.Err() != nil || (errors.As(err, &pg) && transientCode(pg.Code)) || (pg == nil && transientConnection(err)) || errors.Is(err, schema.ErrLockTableFull) {
		return err
	}
	return &Failure{
		Code:    CodeSchemaCopy,
		Message: "The schema could not be copied: " + err.Error(),
		Hint:    "Mend the object on the source or the target, then delete the replication with --clean-target and create it again.",
		Err:     err,
	}
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
