package engine_test

import (
	"fmt"
	"testing"
)

const statisticsSQL = `
CREATE TABLE plain (id int PRIMARY KEY, a int, b int);
INSERT INTO plain SELECT i, i % 10, i % 10 FROM generate_series(1, 1000) AS i;
CREATE STATISTICS plain_both (dependencies) ON a, b FROM plain;
CREATE INDEX plain_computed ON plain ((a * 100));
CREATE TABLE parted (id int, a int, b int) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (500) PARTITION BY RANGE (id);
CREATE TABLE parted_1_1 PARTITION OF parted_1 FOR VALUES FROM (0) TO (500);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (500) TO (5000);
INSERT INTO parted SELECT i, i % 10, i % 10 FROM generate_series(1, 1000) AS i;
CREATE TABLE heir () INHERITS (plain);
INSERT INTO heir SELECT i, i % 10, i % 10 FROM generate_series(1, 1000) AS i;
CREATE MATERIALIZED VIEW summary AS SELECT a, count(*) AS n FROM plain GROUP BY a;
CREATE INDEX ON summary ((n + 1))`

// Trap 52: the target plans with statistics of all that it holds: of rows below others, of expressions, of columns together, and
// of materialized views.
func TestStatisticsOfEveryKind(t *testing.T) {
	t.Parallel()
	for _, target := range []int{sourceMajor, targetMajor} { // two ways of ANALYZE
		t.Run(fmt.Sprint(target), func(t *testing.T) {
			t.Parallel()
			p := newPairOf(t, sourceMajor, target)
			execute(t, p.source, statisticsSQL)
			r := p.run(t)
			r.waitInSync(t)
			r.finalize(t)
			const statistics = `
SELECT tablename || CASE WHEN inherited THEN ' and below' ELSE '' END
FROM pg_stats
WHERE schemaname = 'public'
GROUP BY tablename, inherited
ORDER BY tablename COLLATE "C", inherited`
			const want = `heir
parted and below
parted_1 and below
parted_1_1
parted_2
plain
plain and below
plain_computed
summary
summary_expr_idx`
			if got := query(t, p.target, statistics); got != want {
				t.Errorf("there are statistics of\n%s\nwant\n%s", got, want)
			}
			if kinds := query(t, p.target, `SELECT (dependencies IS NOT NULL)::text FROM pg_stats_ext WHERE statistics_name = 'plain_both' AND NOT inherited`); kinds != "true" {
				t.Errorf("there are statistics of columns together: %q", kinds)
			}
		})
	}
}
