-- Mail that was accepted without a verdict and waits for one, and the times in which judging was switched off.

-- name: insert
-- In the commit of the message itself: whatever is stored without a verdict is found again. Due at once, never tried yet.
-- facts: NULL. (Of the header alone while the body has not been read, in rows that schema 17 left.)
INSERT INTO unjudged (message_id, organisation_id, reason, received_at, try_count, due_at, facts)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: due
SELECT u.message_id, u.reason, u.try_count, u.facts AS header_facts, m.facts, m.pack_id, m.body_offset, m.body_bytes,
  m.body_sha256
FROM unjudged u JOIN message m ON m.id = u.message_id
WHERE u.organisation_id = $1 AND u.due_at <= $2 ORDER BY u.due_at, u.message_id LIMIT $3

-- name: count
SELECT COUNT(*) AS message_count FROM unjudged WHERE organisation_id = $1

-- name: take
-- Whoever removes the row writes the verdict: two workers never write it twice.
DELETE FROM unjudged WHERE message_id = $1

-- name: put_off
UPDATE unjudged SET try_count = try_count + 1, due_at = $2 WHERE message_id = $1

-- name: set_facts @postgres
-- $1: rows of [facts, message id]. Facts that are there stay: a verdict may rest on them.
UPDATE message SET facts = t.v ->> 0 FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE message.id = CAST(t.v ->> 1 AS BIGINT) AND message.facts IS NULL

-- name: set_facts
UPDATE message SET facts = $1 WHERE id = $2 AND facts IS NULL

-- name: set_verdict
UPDATE message SET verdict = $1, verdict_class = $2, rule_set_id = $3 WHERE id = $4 AND verdict IS NULL

-- name: copies
SELECT id FROM copy WHERE received_message_id = $1 ORDER BY id LIMIT $2

-- name: insert_bypass
INSERT INTO bypass (id, organisation_id, started_at, until_at, actor, reason, ended_by) VALUES ($1, $2, $3, $4, $5, $6, '')

-- name: current_bypass
-- One that has run out is over, whether or not somebody has written that down.
SELECT id, started_at, until_at, actor, reason FROM bypass
WHERE organisation_id = $1 AND ended_at IS NULL AND until_at > $2 ORDER BY id DESC LIMIT 1

-- name: end_bypass
UPDATE bypass SET ended_at = $2, ended_by = $3 WHERE organisation_id = $1 AND ended_at IS NULL AND until_at > $2
RETURNING id, started_at, until_at, actor, reason

-- name: run_out_bypass
-- Ended by itself: written down by whoever looks first.
UPDATE bypass SET ended_at = until_at WHERE organisation_id = $1 AND ended_at IS NULL AND until_at <= $2
RETURNING id, started_at, until_at, actor, reason
