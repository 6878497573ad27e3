-- Packs: objects of many bodies.

-- name: put
-- How far a pack reaches after a batch was appended to it.
INSERT INTO pack (id, size_bytes, body_count, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (id) DO UPDATE SET size_bytes = excluded.size_bytes, body_count = pack.body_count + excluded.body_count

-- name: all
SELECT id, size_bytes, body_count, created_at FROM pack ORDER BY id

-- name: reaches
-- Whether a commit whose answer was lost had come to pass.
SELECT id FROM pack WHERE id = $1 AND size_bytes >= $2

-- name: named @postgres
-- Which of these packs a row names: its own, or that of a message.
SELECT id FROM pack WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
UNION SELECT pack_id FROM message
WHERE pack_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: named
SELECT id FROM pack WHERE id IN (SELECT value FROM json_each($1))
UNION SELECT pack_id FROM message WHERE pack_id IN (SELECT value FROM json_each($1))
