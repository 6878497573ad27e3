-- Packs: objects of many bodies.

-- name: insert
INSERT INTO pack (id, size_bytes, body_count, created_at) VALUES ($1, $2, $3, $4)

-- name: all
SELECT id, size_bytes, body_count, created_at FROM pack ORDER BY id

-- name: by_id
-- Whether a commit whose answer was lost had come to pass.
SELECT id FROM pack WHERE id = $1
