package cutover

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/catalog"
	"github.com/cf-pg-migrate/cf-pg-migrate/service/engine/failure"
)

// setSequencesWhileArming is the step under the fence.
func (c *Cutover) setSequencesWhileArming(ctx context.Context) error {
	c.arm(ctx)
	return c.setSequences(ctx)
}

// sequencesPerBatch bounds the locks that a transaction takes.
const sequencesPerBatch = 500

// setSequences brings the sequences of the target to where the source's stand, and checks that they are there. It is called
// twice: before the fence, when writers may still move some, and under it, when only those are left. No transaction takes back
// what it sets, so that it needs not be the one of the opening.
func (c *Cutover) setSequences(ctx context.Context) error {
	sequences, err := catalog.Sequences(ctx, c.sides.Source.Conn)
	if err != nil {
		return err
	}
	moved := slices.DeleteFunc(slices.Clone(sequences), func(s catalog.Sequence) bool { return c.positions[s] })
	for batch := range slices.Chunk(moved, sequencesPerBatch) {
		err := pgx.BeginFunc(ctx, c.sides.Target.Conn, func(tx pgx.Tx) error {
			if err := c.Job.Ledger.CheckEpoch(ctx, tx); err != nil {
				return err
			}
			if err := catalog.SetSequences(ctx, tx, batch); err != nil {
				return err
			}
			there := slices.Clone(batch)
			if err := catalog.ReadPositions(ctx, tx, there); err != nil {
				return err
			}
			for i, s := range batch {
				if there[i] != s {
					return &failure.Failure{Code: failure.VerificationFailed, Message: "Sequence " + s.SQLName() + " of the target does not stand where the source's does", Hint: failure.StartAgain}
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	c.positions = make(map[catalog.Sequence]bool, len(sequences))
	for _, s := range sequences {
		c.positions[s] = true
	}
	return nil
}
