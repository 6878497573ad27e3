-- Jobs: long work with a progress bar. kind purge, restore, release: done by the quarantine's worker.
--
-- params (JSON) by kind:
--   purge    {"terms": [["url_host", "t.example.org"], …] or absent (judge the whole window), "window_ms": 172800000 or absent}
--   restore  {}
--   release  {"selection": {"campaign": "12"} | {"cause": "12"} | {"items": ["1", "2"]}, "role": "administrator"}
-- cause_id of purge and restore: the change. The worker adds "progress" to params, so that another one can go on.

-- name: insert
-- Waiting. Announce Topic::Job after the commit.
INSERT INTO job (id, organisation_id, kind, title, state, cause_id, params, actor, created_at)
VALUES ($1, $2, $3, $4, 'waiting', $5, $6, $7, $8)

-- name: claim @postgres
-- The oldest job that waits or whose worker has gone silent. lease_until is also the token of whoever holds it.
-- What an undo puts back waits for the end of what the same change still pulls back (by the rules it began with).
UPDATE job SET state = 'running', lease_until = $1, started_at = COALESCE(started_at, $2)
WHERE id = (SELECT j.id FROM job j WHERE j.organisation_id = $3 AND j.kind IN ('purge', 'restore', 'release')
    AND j.state IN ('waiting', 'running') AND j.lease_until <= $2
    AND NOT EXISTS (SELECT 1 FROM job o WHERE o.cause_id = j.cause_id AND o.id < j.id AND o.kind <> j.kind
      AND o.state IN ('waiting', 'running'))
  ORDER BY j.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, kind, title, cause_id, params, done_count, failed_count, total_count, actor

-- name: claim
UPDATE job SET state = 'running', lease_until = $1, started_at = COALESCE(started_at, $2)
WHERE id = (SELECT j.id FROM job j WHERE j.organisation_id = $3 AND j.kind IN ('purge', 'restore', 'release')
    AND j.state IN ('waiting', 'running') AND j.lease_until <= $2
    AND NOT EXISTS (SELECT 1 FROM job o WHERE o.cause_id = j.cause_id AND o.id < j.id AND o.kind <> j.kind
      AND o.state IN ('waiting', 'running'))
  ORDER BY j.id LIMIT 1)
RETURNING id, kind, title, cause_id, params, done_count, failed_count, total_count, actor

-- name: progress
-- Guarded by the lease that the worker holds ($6): one that was overtaken writes nothing.
UPDATE job SET done_count = $1, failed_count = $2, total_count = $3, params = $4, lease_until = $5
WHERE id = $7 AND state = 'running' AND lease_until = $6

-- name: finish
UPDATE job SET state = $1, result = $2, finished_at = $3, lease_until = 0
WHERE id = $4 AND state = 'running' AND lease_until = $5

-- name: note
-- What people may read of a job that is not done: it says what it waits for.
UPDATE job SET result = $1 WHERE id = $2 AND state = 'running' AND lease_until = $3

-- name: renew
UPDATE job SET lease_until = $1 WHERE id = $2 AND state = 'running' AND lease_until = $3

-- name: put_off
-- Given back after a passing failure, to be claimed again from $1 on.
UPDATE job SET state = 'waiting', lease_until = $1 WHERE id = $2 AND state = 'running' AND lease_until = $3

-- name: by_id
SELECT id, kind, title, state, cause_id, params, done_count, failed_count, total_count, result, actor, created_at,
  started_at, finished_at
FROM job WHERE organisation_id = $1 AND id = $2

-- name: page
-- Newest first, below id $2; $3: of this cause, or 0 for all.
SELECT id, kind, title, state, cause_id, params, done_count, failed_count, total_count, result, actor, created_at,
  started_at, finished_at
FROM job WHERE organisation_id = $1 AND id < $2 AND (CAST($3 AS BIGINT) = 0 OR cause_id = $3) ORDER BY id DESC LIMIT $4
