-- One transaction of an application of the mixed database, for pgbench.
\set id random(1, :rows)
\set small random(1, 500)
BEGIN;
UPDATE app.big SET amount = amount + 1, properties = properties || '{"touched": true}' WHERE id = :id;
UPDATE app.small_2 SET amount = amount + 1 WHERE id = :small;
INSERT INTO app.journal VALUES (now(), 'changed ' || :id);
COMMIT;
