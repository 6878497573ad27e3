-- Changes of the protection side: proposed, backtested, activated, undone.

-- name: insert
INSERT INTO change (id, organisation_id, kind, title, state, diff, reason, proposed_by, created_at, base_rule_set_id, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: by_id
SELECT id, kind, title, state, diff, reason, proposed_by, created_at, backtest_id, base_rule_set_id, rule_set_id,
  activated_by, activated_at, override_reason, undone_by, undone_at, undo_reason, updated_at
FROM change WHERE id = $1 AND organisation_id = $2

-- name: lock @postgres
-- Whoever moves a change's state holds its row first: two clicks on one button are one step.
SELECT id, kind, title, state, diff, reason, proposed_by, created_at, backtest_id, base_rule_set_id, rule_set_id,
  activated_by, activated_at, override_reason, undone_by, undone_at, undo_reason, updated_at
FROM change WHERE id = $1 AND organisation_id = $2 FOR UPDATE

-- name: lock
SELECT id, kind, title, state, diff, reason, proposed_by, created_at, backtest_id, base_rule_set_id, rule_set_id,
  activated_by, activated_at, override_reason, undone_by, undone_at, undo_reason, updated_at
FROM change WHERE id = $1 AND organisation_id = $2

-- name: page
-- Newest first; empty state is no filter.
SELECT id, kind, title, state, diff, reason, proposed_by, created_at, backtest_id, base_rule_set_id, rule_set_id,
  activated_by, activated_at, override_reason, undone_by, undone_at, undo_reason, updated_at
FROM change WHERE organisation_id = $1 AND id < $2 AND (CAST($3 AS TEXT) = '' OR state = CAST($3 AS TEXT))
ORDER BY id DESC LIMIT $4

-- name: set_backtest
UPDATE change SET state = $1, backtest_id = $2, base_rule_set_id = $3, updated_at = $4 WHERE id = $5

-- name: set_state
UPDATE change SET state = $1, updated_at = $2 WHERE id = $3

-- name: activate
UPDATE change SET state = $1, rule_set_id = $2, activated_by = $3, activated_at = $4, override_reason = $5, updated_at = $4
WHERE id = $6

-- name: undo
-- Also a stop: who ended it, when and why.
UPDATE change SET state = $1, undone_by = $2, undone_at = $3, undo_reason = $4, updated_at = $3 WHERE id = $5

-- name: cut_off
-- In state $2 without a backtest under way whose process has been heard of since $3.
SELECT c.id FROM change c WHERE c.organisation_id = $1 AND c.state = $2
  AND NOT EXISTS (SELECT 1 FROM backtest b WHERE b.change_id = c.id AND b.state = 'running' AND b.lease_until > $3)
ORDER BY c.id LIMIT $4
