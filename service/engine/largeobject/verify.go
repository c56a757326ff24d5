package largeobject

import (
	"context"
	"crypto/md5" //nolint:gosec // it tells contents apart and guards nothing
	"encoding/binary"
	"fmt"
	"strconv"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Content is what one side holds: the number of large objects, and the sum, modulo 2^64, of a hash of each one's oid, size
// and content.
type Content struct {
	Objects int64
	Hash    string
}

// Verification is what both sides hold; of the target only what was carried there.
type Verification struct {
	Source, Target Content
	Different      int64    // objects that are not the same on both sides, or on one side only
	Names          []uint32 // of some of them
}

// Verify reads all large objects on both sides.
func (s Sides) Verify(ctx context.Context) (Verification, error) {
	var (
		mu             sync.Mutex
		v              Verification
		source, target uint64
	)
	err := s.each(ctx, func(ctx context.Context, from, to *pgx.Conn, part span) error {
		there, carried, err := readBoth(ctx, from, to, part)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		v.Source.Objects += int64(len(there))
		v.Target.Objects += int64(len(carried))
		source += sum(there)
		target += sum(carried)
		for _, oid := range different(there, carried) {
			v.Different++
			if len(v.Names) < namesShown {
				v.Names = append(v.Names, oid)
			}
		}
		return nil
	})
	v.Source.Hash, v.Target.Hash = strconv.FormatUint(source, 10), strconv.FormatUint(target, 10)
	return v, err
}

func sum(objects []object) (total uint64) {
	for _, o := range objects {
		hash := md5.Sum(fmt.Appendf(nil, "%d %d %s", o.oid, o.size, o.hash)) //nolint:gosec // see the import
		total += binary.BigEndian.Uint64(hash[:8])
	}
	return total
}

// different gives the oids that both sides do not have alike. Both are in the order of their oids.
func different(a, b []object) []uint32 {
	var oids []uint32
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].oid < b[0].oid:
			oids = append(oids, a[0].oid)
			a = a[1:]
		case len(a) == 0 || b[0].oid < a[0].oid:
			oids = append(oids, b[0].oid)
			b = b[1:]
		default:
			if a[0] != b[0] {
				oids = append(oids, a[0].oid)
			}
			a, b = a[1:], b[1:]
		}
	}
	return oids
}
