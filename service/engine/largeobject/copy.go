package largeobject

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Copy makes the carried objects of the target what the source's are: new and changed ones are copied, those that are gone
// from the source are removed. The source may be written to meanwhile; each object is copied as it was at one moment.
// Errors: *TakenError.
func (s Sides) Copy(ctx context.Context) error { return s.each(ctx, s.copySpan) }

func (s Sides) copySpan(ctx context.Context, source, target *pgx.Conn, part span) error {
	// One snapshot, so that an object that is removed meanwhile can still be read.
	return pgx.BeginTxFunc(ctx, source, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(from pgx.Tx) error {
		there, carried, err := readBoth(ctx, from, target, part)
		if err != nil {
			return err
		}
		if err := checkTaken(ctx, target, part, there); err != nil {
			return err
		}
		before := make(map[uint32]object, len(carried))
		for _, o := range carried {
			before[o.oid] = o
		}
		var changed []object
		for _, o := range there {
			old, known := before[o.oid]
			if !known || old != o {
				changed = append(changed, o)
			}
		}
		if err := s.removeGone(ctx, target, there, carried); err != nil {
			return err
		}
		for _, group := range groups(changed) {
			err := pgx.BeginFunc(ctx, target, func(to pgx.Tx) error {
				if err := copyGroup(ctx, from, to, group, before); err != nil {
					return err
				}
				return s.CheckEpoch(ctx, to)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// checkTaken gives a *TakenError for objects of the source whose oids the target uses for something that is not ours.
func checkTaken(ctx context.Context, target *pgx.Conn, part span, there []object) error {
	rows, err := target.Query(ctx, takenSQL, part.after, part.to)
	if err != nil {
		return fmt.Errorf("looking for other large objects of the target: %w", err)
	}
	taken, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("looking for other large objects of the target: %w", err)
	}
	var both []uint32
	for _, o := range there {
		if slices.Contains(taken, o.oid) {
			both = append(both, o.oid)
		}
	}
	if len(both) > 0 {
		return &TakenError{OIDs: both}
	}
	return nil
}

const (
	unlinkSQL = `SELECT pg_catalog.lo_unlink($1::oid)`
	forgetSQL = `DELETE FROM _pgmig.large_objects WHERE object = $1::oid`
	createSQL = `SELECT pg_catalog.lo_create($1::oid)`
	recordSQL = `INSERT INTO _pgmig.large_objects (object) VALUES ($1::oid) ON CONFLICT DO NOTHING`
	getSQL    = `SELECT pg_catalog.lo_get($1::oid, $2::bigint, $3::int)`
	putSQL    = `SELECT pg_catalog.lo_put($1::oid, $2::bigint, $3::bytea)`

	getSmallSQL = `SELECT o::oid, pg_catalog.lo_get(o::oid) FROM pg_catalog.unnest($1::bigint[]) AS o`
)

func (s Sides) removeGone(ctx context.Context, target *pgx.Conn, there, carried []object) error {
	wanted := make(map[uint32]bool, len(there))
	for _, o := range there {
		wanted[o.oid] = true
	}
	batch := &pgx.Batch{}
	for _, o := range carried {
		if !wanted[o.oid] {
			batch.Queue(unlinkSQL, o.oid)
			batch.Queue(forgetSQL, o.oid)
		}
	}
	if batch.Len() == 0 {
		return nil
	}
	err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error {
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		return s.CheckEpoch(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("removing large objects from the target: %w", err)
	}
	return nil
}

// groupBytes is how much is copied in one transaction, unless a single object is larger.
const groupBytes = 4 << 20

// groups divides objects into what is copied in one transaction each.
func groups(objects []object) [][]object {
	var all [][]object
	size := int64(0)
	for _, o := range objects {
		if len(all) == 0 || size+o.size > groupBytes {
			all, size = append(all, nil), 0
		}
		all[len(all)-1] = append(all[len(all)-1], o)
		size += o.size
	}
	return all
}

// copyGroup creates the objects anew and fills them. before holds those that are there already.
func copyGroup(ctx context.Context, from, to pgx.Tx, objects []object, before map[uint32]object) error {
	create := &pgx.Batch{}
	var small []int64
	for _, o := range objects {
		if _, there := before[o.oid]; there {
			create.Queue(unlinkSQL, o.oid)
		}
		create.Queue(createSQL, o.oid)
		create.Queue(recordSQL, o.oid)
		if o.size <= chunk {
			small = append(small, int64(o.oid))
		}
	}
	if err := to.SendBatch(ctx, create).Close(); err != nil {
		return fmt.Errorf("creating large objects on the target: %w", err)
	}
	if err := copySmall(ctx, from, to, small); err != nil {
		return err
	}
	for _, o := range objects {
		if o.size > chunk {
			if err := copyLarge(ctx, from, to, o); err != nil {
				return fmt.Errorf("copying large object %d: %w", o.oid, err)
			}
		}
	}
	return nil
}

// copySmall copies the contents of objects of one chunk at most, in one round trip on each side.
func copySmall(ctx context.Context, from, to pgx.Tx, oids []int64) error {
	if len(oids) == 0 {
		return nil
	}
	rows, err := from.Query(ctx, getSmallSQL, oids)
	if err != nil {
		return fmt.Errorf("reading large objects from the source: %w", err)
	}
	put := &pgx.Batch{}
	var (
		oid     uint32
		content []byte
	)
	_, err = pgx.ForEachRow(rows, []any{&oid, &content}, func() error {
		put.Queue(putSQL, oid, 0, bytes.Clone(content))
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading large objects from the source: %w", err)
	}
	if err := to.SendBatch(ctx, put).Close(); err != nil {
		return fmt.Errorf("writing large objects to the target: %w", err)
	}
	return nil
}

// copyLarge copies the content of an object chunk by chunk. Chunks of zeros are left out, so that a sparse object stays
// sparse; the last byte makes the size.
func copyLarge(ctx context.Context, from, to pgx.Tx, o object) error {
	for offset := int64(0); offset < o.size; offset += chunk {
		var content []byte
		if err := from.QueryRow(ctx, getSQL, o.oid, offset, chunk).Scan(&content); err != nil {
			return err
		}
		if len(bytes.Trim(content, "\x00")) == 0 {
			if offset+chunk < o.size {
				continue
			}
			offset, content = o.size-1, []byte{0}
		}
		if _, err := to.Exec(ctx, putSQL, o.oid, offset, content); err != nil {
			return err
		}
	}
	return nil
}

const carriedSomeSQL = `SELECT object FROM _pgmig.large_objects ORDER BY object LIMIT $1`

// Remove removes all carried objects from the target, some hundreds in a transaction: each takes an entry in the server's
// lock table.
func Remove(ctx context.Context, target *pgx.Conn) error {
	for {
		rows, err := target.Query(ctx, carriedSomeSQL, objectsPerSpan)
		if err != nil {
			return fmt.Errorf("reading the large objects from the ledger: %w", err)
		}
		oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
		if err != nil {
			return fmt.Errorf("reading the large objects from the ledger: %w", err)
		}
		if len(oids) == 0 {
			return nil
		}
		batch := &pgx.Batch{}
		for _, oid := range oids {
			batch.Queue(removeSQL, oid)
			batch.Queue(forgetSQL, oid)
		}
		if err := pgx.BeginFunc(ctx, target, func(tx pgx.Tx) error { return tx.SendBatch(ctx, batch).Close() }); err != nil {
			return fmt.Errorf("removing large objects from the target: %w", err)
		}
	}
}

// One that somebody else has removed is not missed.
const removeSQL = `SELECT pg_catalog.lo_unlink(m.oid) FROM pg_catalog.pg_largeobject_metadata AS m WHERE m.oid = $1::oid`
