package preflight

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// takenObjectsSQL gives those large objects of the source whose numbers are taken on the target.
const takenObjectsSQL = `
SELECT count(*), (array_agg(oid::text ORDER BY oid))[1:10]
FROM pg_largeobject_metadata
WHERE oid = ANY (SELECT unnest(@taken::bigint[])::oid)`

// checkLargeObjects looks on the source for the numbers of the target's large objects: they keep their numbers.
func (i *inspection) checkLargeObjects(ctx context.Context, target facts) []Finding {
	if target.own || len(target.largeObjects) == 0 || i.conn.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, statementLimit)
	defer cancel()
	var r result
	err := i.conn.QueryRow(ctx, takenObjectsSQL, pgx.QueryExecModeExec, pgx.NamedArgs{"taken": target.largeObjects}).Scan(&r.count, &r.names)
	switch {
	case err != nil:
		return []Finding{i.catalog["T23"].failed(reason(err))}
	case r.count == 0:
		return nil
	}
	r.values = map[string]string{"detail": enumerated(r.names)}
	return []Finding{i.catalog["T23"].finding(r)}
}
