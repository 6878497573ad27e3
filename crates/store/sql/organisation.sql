-- The organisation.

-- name: first
SELECT id, name, domains, created_at FROM organisation ORDER BY id LIMIT 1

-- name: insert
INSERT INTO organisation (id, name, domains, created_at) VALUES ($1, $2, $3, $4)
