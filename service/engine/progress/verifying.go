package progress

import (
	"github.com/jackc/pglogrepl"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/verify"
)

// VerificationBegan says that tables, given by their OIDs, are verified from now on. What was known of them before is kept for
// VerificationEnded.
func (b *Board) VerificationBegan(oids []uint32) (before map[uint32]Verification) {
	before = make(map[uint32]Verification, len(oids))
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, oid := range oids {
		if t := b.tables[oid]; t != nil {
			before[oid], t.Verification = t.Verification, VerificationPending
		}
	}
	return before
}

// FoundEqual says that both sides showed the same content when they stood at that position.
func (b *Board) FoundEqual(oid uint32, at pglogrepl.LSN, content verify.Content, sign catalog.Sign) {
	b.change(oid, func(t *Table) { t.Verification, t.EqualAt, t.Content, t.Sign = Verified, at, content, sign })
}

// FoundDifferent says that a table is not what it is on the source.
func (b *Board) FoundDifferent(oid uint32) {
	b.change(oid, func(t *Table) { t.Verification = Mismatched })
}

// VerificationEnded gives the tables of which nothing was learnt the state of before.
func (b *Board) VerificationEnded(unknown map[uint32]Verification) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for oid, verification := range unknown {
		b.tables[oid].Verification = verification
	}
}

// FenceGivenUp says that a finalization has failed. What of the deferred tables was equal under its fence is no more: nothing
// carries their changes.
func (b *Board) FenceGivenUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.tables {
		if t.Deferred {
			t.Verification = NotVerified
		}
	}
}
