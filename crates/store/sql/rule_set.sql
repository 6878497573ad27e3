-- rule_set

-- name: active
SELECT id, parent_id, hash, source, author, reason, backtest_id, change_id, created_at FROM rule_set
WHERE organisation_id = $1 AND active = 1 ORDER BY id DESC LIMIT 1

-- name: insert
INSERT INTO rule_set (id, organisation_id, parent_id, hash, source, author, reason, backtest_id, change_id, active, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: lock_active @postgres
-- Whoever replaces the active version holds it first; the unique index on active rows catches what slips through.
SELECT id FROM rule_set WHERE organisation_id = $1 AND active = 1 FOR UPDATE

-- name: lock_active
SELECT id FROM rule_set WHERE organisation_id = $1 AND active = 1

-- name: deactivate
UPDATE rule_set SET active = 0 WHERE organisation_id = $1 AND active = 1

-- name: by_id
SELECT id, parent_id, hash, source, author, reason, backtest_id, change_id, active, created_at FROM rule_set
WHERE id = $1 AND organisation_id = $2

-- name: page
-- Newest first, without the source, which can be large.
SELECT id, parent_id, hash, author, reason, backtest_id, change_id, active, created_at FROM rule_set
WHERE organisation_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3

-- name: source_of
-- What a version was compiled from: for a replay of the verdicts that name it.
SELECT source FROM rule_set WHERE id = $1
