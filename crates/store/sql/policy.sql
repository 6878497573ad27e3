-- policy

-- name: all
SELECT id, name, priority, body, updated_at FROM policy WHERE organisation_id = $1 ORDER BY priority, id

-- name: insert
INSERT INTO policy (id, organisation_id, name, priority, body, updated_at) VALUES ($1, $2, $3, $4, $5, $6)
