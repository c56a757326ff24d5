package progress

import (
	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// Comparing says that tables, given by their OIDs, are compared from now on. What was known of them before is kept for
// ComparisonEnded.
func (b *Board) Comparing(oids []uint32) (before map[uint32]Validation) {
	before = make(map[uint32]Validation, len(oids))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, oid := range oids {
		if t := b.tables[oid]; t != nil {
			before[oid], t.Validation = t.Validation, ValidationPending
		}
	}
	return before
}

// FoundEqual says that both sides showed the same content when they stood at that position.
func (b *Board) FoundEqual(oid uint32, at pglogrepl.LSN, content verify.Content) {
	b.change(oid, func(t *Table) { t.Validation, t.EqualAt, t.Content = Validated, at, content })
}

// FoundDifferent says that a table is not what it is on the source.
func (b *Board) FoundDifferent(oid uint32) {
	b.change(oid, func(t *Table) { t.Validation = Mismatched })
}

// ComparisonEnded gives the tables of which nothing was learnt the state of before.
func (b *Board) ComparisonEnded(unknown map[uint32]Validation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for oid, validation := range unknown {
		b.tables[oid].Validation = validation
	}
}

// FenceGivenUp says that a finalization has failed. What of the deferred tables was equal under its fence is no more: nothing
// carries their changes.
func (b *Board) FenceGivenUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tables {
		if t.Deferred {
			t.Validation = NotValidated
		}
	}
}
