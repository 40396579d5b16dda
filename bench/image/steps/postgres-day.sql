-- One day of the shop: most changes touch what is recent, a few touch anything.
-- ROWS and SEED are replaced by the generator.
SELECT setseed(SEED);
INSERT INTO orders (placed, customer, status, amount, note, ref)
SELECT now() + g * interval '1 s', (random() * 50000)::int, 'new', round((random() * 900)::numeric, 2),
	'ordered by phone, see note ' || (random() * 1e6)::int, md5(random()::text)::uuid
FROM generate_series(1, ROWS / 500) g;
UPDATE orders SET status = 'sent', amount = amount + 1
WHERE id IN (SELECT (SELECT max(id) FROM orders) - floor(random() * ROWS / 40)::bigint FROM generate_series(1, ROWS / 2000));
UPDATE orders SET status = 'closed'
WHERE id IN (SELECT 1 + floor(random() * ROWS)::bigint FROM generate_series(1, ROWS / 20000));
DELETE FROM orders WHERE id IN (SELECT 1 + floor(random() * ROWS / 10)::bigint FROM generate_series(1, ROWS / 20000));
VACUUM orders;
CHECKPOINT;
