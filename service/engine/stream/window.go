package stream

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
)

const (
	// A window is sent when it holds this much; two of them are in memory at most.
	windowBytes   = 4 << 20
	windowChanges = 20_000

	// foldBytes is the size from which on a change goes alone.
	foldBytes = 64 << 10
	// foldRows is the number of rows from which on one statement for all is quicker than prepared ones for each.
	foldRows = 8
	// foldItems is the number of changes from which on it is worth while to fold a window.
	foldItems = 16
	// unfoldedWindows is how many windows a table's changes go one by one after the target did not take them folded.
	unfoldedWindows = 100
)

// window is a part of the changes of one target transaction. It is folded as it is filled, and remembers the single changes in
// their order until the target has taken it.
type window struct {
	items  []item
	steps  []step
	open   map[*relation]*fold // folds that can take more
	weight int64               // of the changes in the budget
	// number counts the windows of a Run.
	number int
}

// item is one change as the source made it.
type item struct {
	relation *relation
	change   *change
	truncate []*relation // no relation and no change then
}

// step is a fold, or a single item. The steps of a table are in their order; no step concerns several tables but TRUNCATE.
type step struct {
	fold *fold
	item item
}

func newWindow(number int) *window { return &window{open: map[*relation]*fold{}, number: number} }

func (w *window) full() bool { return w.weight >= windowBytes || len(w.items) >= windowChanges }

func (w *window) add(r *relation, c *change) {
	i := item{relation: r, change: c}
	w.items = append(w.items, i)
	w.weight += c.weight
	if r.literal == nil || w.number < r.foldFrom || c.size >= foldBytes {
		w.alone(i)
		return
	}
	f := w.open[r]
	if f == nil {
		f = newFold(r)
		w.open[r] = f
		w.steps = append(w.steps, step{fold: f})
	}
	if !f.add(c) {
		w.alone(i)
	}
}

// alone makes a step of one change. What comes later of its table comes in later steps.
func (w *window) alone(i item) {
	delete(w.open, i.relation)
	w.steps = append(w.steps, step{item: i})
}

func (w *window) truncate(relations []*relation) {
	for _, r := range relations {
		delete(w.open, r)
	}
	i := item{truncate: relations}
	w.items = append(w.items, i)
	w.steps = append(w.steps, step{item: i})
}

const (
	savepointSQL = "SAVEPOINT pgmig_window"
	releaseSQL   = "RELEASE SAVEPOINT pgmig_window"
	rollbackSQL  = "ROLLBACK TO SAVEPOINT pgmig_window"
)

// folded says whether the window changes the target otherwise than the source was changed.
func (w *window) folded() bool {
	return len(w.items) >= foldItems &&
		slices.ContainsFunc(w.steps, func(s step) bool { return s.fold != nil && len(s.fold.order) > 1 })
}

// send writes the window's statements and does not wait for the last answers. The error may be an answer.
func (w *window) send(s *session) error {
	if !w.folded() {
		return w.sendItems(s)
	}
	if err := s.query(savepointSQL, expectation{rows: anyRows, operation: savepointSQL}); err != nil {
		return err
	}
	for _, step := range w.steps {
		var err error
		if step.fold != nil {
			err = step.fold.send(s)
		} else {
			err = step.item.send(s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendItems writes the changes one by one, as the source made them.
func (w *window) sendItems(s *session) error {
	for _, i := range w.items {
		if err := i.send(s); err != nil {
			return err
		}
	}
	return nil
}

// taken ends the window after the target answered with err, nil if all was right. What the target did not take folded is taken
// back and sent as the source made it: only if that is wrong, something is.
func (w *window) taken(s *session, err error) error {
	if !w.folded() {
		return err
	}
	if err != nil {
		if !repeatable(s, err) {
			return err
		}
		w.distrust(err)
		if err := s.query(rollbackSQL, expectation{rows: anyRows, operation: rollbackSQL}); err != nil {
			return err
		}
		if err := w.sendItems(s); err != nil {
			return err
		}
		if err := s.settle(); err != nil {
			return err
		}
	}
	return s.query(releaseSQL, expectation{rows: anyRows, operation: releaseSQL})
}

// distrust lets the table that the cause names go unfolded for a while.
func (w *window) distrust(cause error) {
	var (
		mismatch *MismatchError
		refused  *RefusedError
		oid      uint32
	)
	switch {
	case errors.As(cause, &mismatch):
		oid = mismatch.OID
	case errors.As(cause, &refused):
		oid = refused.OID
	}
	for _, s := range w.steps {
		if s.fold != nil && s.fold.relation.table.OID == oid {
			s.fold.relation.foldFrom = w.number + unfoldedWindows
		}
	}
}

func (f *fold) send(s *session) error {
	r := f.relation
	deletes, updates, inserts := f.changes()
	if err := f.sendRows(s, "DELETE", deletes, r.deleteRows, r.isKey, func(t tuple) error { return r.sendDelete(s, t) }); err != nil {
		return err
	}
	for _, m := range slices.Sorted(maps.Keys(updates)) {
		err := f.sendRows(s, "UPDATE", updates[m], func() string { return r.updateRows(m) }, anyColumn, func(t tuple) error { return r.sendUpdate(s, nil, t) })
		if err != nil {
			return err
		}
	}
	if len(inserts) >= foldRows {
		e := r.expect("INSERT")
		e.rows = int64(len(inserts))
		s.scratch = appendCopy(s.scratch[:0], inserts)
		return s.copyIn(r.copyRows(), e, s.scratch)
	}
	for _, row := range inserts {
		if err := r.sendInsert(s, row); err != nil {
			return err
		}
	}
	return nil
}

// sendRows sends one statement for many rows, or for few rows one for each.
func (f *fold) sendRows(s *session, operation string, rows []tuple, sql func() string, wanted func(int) bool, one func(tuple) error) error {
	if len(rows) < foldRows {
		for _, row := range rows {
			if err := one(row); err != nil {
				return err
			}
		}
		return nil
	}
	f.relation.sortByKey(rows)
	e := f.relation.expect(operation)
	e.rows = int64(len(rows))
	s.scratch = f.relation.appendRows(s.scratch[:0], rows, wanted)
	return s.query(sql(), e, s.scratch)
}

func (i item) send(s *session) error {
	if i.relation == nil {
		return sendTruncate(s, i.truncate)
	}
	switch i.change.message {
	case pglogrepl.MessageTypeInsert:
		return i.relation.sendInsert(s, i.change.row)
	case pglogrepl.MessageTypeUpdate:
		return i.relation.sendUpdate(s, i.change.old, i.change.row)
	default:
		return i.relation.sendDelete(s, i.change.old)
	}
}

func (r *relation) expect(operation string) expectation {
	return expectation{rows: 1, oid: r.table.OID, table: r.table.String(), operation: operation}
}

func (r *relation) sendInsert(s *session, row tuple) error {
	return s.execute(r.insertSQL, r.expect("INSERT"), parameters(row))
}

func (r *relation) sendUpdate(s *session, old, row tuple) error {
	values := parameters(row)
	if len(values) == 0 {
		return nil // a row of unchanged large values only
	}
	identity, err := r.identify(old, row)
	if err != nil {
		return err
	}
	return s.execute(r.updateOne(mask(row)), r.expect("UPDATE"), append(values, identity...))
}

func (r *relation) sendDelete(s *session, old tuple) error {
	identity, err := r.identify(old, nil)
	if err != nil {
		return err
	}
	return s.execute(r.deleteSQL, r.expect("DELETE"), identity)
}

// sendTruncate empties the tables. The target refuses that while deferrable constraints of theirs are still to be checked. On the
// source they were not, so they hold.
func sendTruncate(s *session, relations []*relation) error {
	var names, constraints []string
	for _, r := range relations {
		names = append(names, "ONLY "+r.name)
		constraints = append(constraints, r.deferrable...)
	}
	tables := strings.Join(names, ", ")
	statements := []string{"TRUNCATE " + tables}
	if len(constraints) > 0 {
		list := strings.Join(constraints, ", ")
		statements = []string{"SET CONSTRAINTS " + list + " IMMEDIATE", statements[0], "SET CONSTRAINTS " + list + " DEFERRED"}
	}
	for _, sql := range statements {
		if err := s.query(sql, expectation{rows: anyRows, table: tables, operation: "TRUNCATE"}); err != nil {
			return err
		}
	}
	return nil
}

// repeatable says whether err is an answer of the target to statements that may be sent otherwise.
func repeatable(s *session, err error) bool {
	var (
		mismatch *MismatchError
		pg       *pgconn.PgError
	)
	return s.err == nil && (errors.As(err, &mismatch) || errors.As(err, &pg))
}
