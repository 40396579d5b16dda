-- Orders of a shop. ROWS is replaced by the generator.
SELECT setseed(0.42);
CREATE TABLE orders (
	id bigserial PRIMARY KEY,
	placed timestamptz NOT NULL,
	customer int NOT NULL,
	status text NOT NULL,
	amount numeric(10,2) NOT NULL,
	note text NOT NULL,
	ref uuid NOT NULL
);
INSERT INTO orders (placed, customer, status, amount, note, ref)
SELECT '2024-01-01'::timestamptz + g * interval '17 s',
	(random() * 50000)::int,
	(ARRAY['new','paid','sent','closed'])[1 + floor(random() * 4)::int],
	round((random() * 900)::numeric, 2),
	w[1 + floor(random() * 16)::int] || ' ' || w[1 + floor(random() * 16)::int] || ' for '
		|| w[1 + floor(random() * 16)::int] || ', deliver to street ' || (random() * 900)::int,
	md5(g::text)::uuid
FROM generate_series(1, ROWS) g,
	(SELECT ARRAY['chair','table','lamp','carpet','garden bench','shelf','mirror','bed frame','cushion',
		'office desk','cabinet','bookcase','kitchen block','sofa, two parts','curtain','door mat'] w) words;
CREATE INDEX orders_customer ON orders (customer);
CREATE INDEX orders_placed ON orders (placed);
VACUUM ANALYZE orders;
CHECKPOINT;
