-- What an organisation changes, keys it signs with, and the store's own housekeeping.

-- name: ping
SELECT CAST(1 AS BIGINT) AS one

-- name: probe
-- A write that changes nothing: whether rows can be made durable now.
UPDATE schema_version SET applied_at = applied_at WHERE version = 1

-- name: schema_version
SELECT CAST(COALESCE(MAX(version), 0) AS BIGINT) AS version FROM schema_version

-- name: record_schema_version
INSERT INTO schema_version (version, applied_at) VALUES ($1, $2)

-- name: get
SELECT value FROM setting WHERE organisation_id = $1 AND name = $2

-- name: all
SELECT name, value, updated_at FROM setting WHERE organisation_id = $1 ORDER BY name

-- name: lock @postgres
-- Whoever saves settings holds the organisation's row first: what was read is then what is replaced.
SELECT id FROM organisation WHERE id = $1 FOR UPDATE

-- name: lock
SELECT id FROM organisation WHERE id = $1

-- name: put
INSERT INTO setting (organisation_id, name, value, updated_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organisation_id, name) DO UPDATE SET value = excluded.value, updated_at = excluded.updated_at

-- name: secret
SELECT id, kind, name, material, created_at FROM secret WHERE organisation_id = $1 AND kind = $2 ORDER BY id DESC

-- name: put_secret
INSERT INTO secret (id, organisation_id, kind, name, material, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organisation_id, kind, name) DO NOTHING

-- name: set_secret_kind
-- $4 becomes its kind if it is of kind $2.
UPDATE secret SET kind = $4 WHERE organisation_id = $1 AND kind = $2 AND name = $3

-- name: delete_secret
DELETE FROM secret WHERE organisation_id = $1 AND kind = $2 AND name = $3
