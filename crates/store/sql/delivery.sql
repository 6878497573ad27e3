-- The outbound queue: one row per hand-over of one copy. state: due, leased, held, done, failed.
-- A row that was held while an attempt was under way keeps its lease_owner: the attempt's result is still recorded,
-- and nobody else takes it meanwhile.

-- name: insert
INSERT INTO delivery (id, organisation_id, copy_id, message_id, campaign_id, reverse_path, recipient, recipient_domain,
  state, attempt_count, next_try_at, give_up_at, created_at, notify, orcpt, ret, envid, require_tls, purpose,
  may_tell)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)

-- name: claim_due @postgres
-- $5: domains that have enough in memory already, so that one slow host never starves the others.
UPDATE delivery SET state = 'leased', lease_owner = $1, lease_until = $2, attempt_count = attempt_count + 1
WHERE id IN (
  SELECT id FROM delivery WHERE connector = '' AND state = 'due' AND next_try_at <= $3
    AND recipient_domain NOT IN (SELECT value FROM json_array_elements_text(CAST($5 AS JSON)) AS t(value))
  ORDER BY next_try_at, id LIMIT $4 FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: claim_due
UPDATE delivery SET state = 'leased', lease_owner = $1, lease_until = $2, attempt_count = attempt_count + 1
WHERE id IN (
  SELECT id FROM delivery WHERE connector = '' AND state = 'due' AND next_try_at <= $3
    AND recipient_domain NOT IN (SELECT value FROM json_each($5))
  ORDER BY next_try_at, id LIMIT $4)
RETURNING id

-- name: claimed @postgres
-- What an attempt needs, with the place of the body.
SELECT d.id, d.organisation_id, d.copy_id, d.message_id, d.campaign_id, d.reverse_path, d.recipient, d.recipient_domain,
  d.attempt_count, d.give_up_at, d.created_at, d.notify, d.orcpt, d.ret, d.envid, d.require_tls, d.purpose,
  d.may_tell, d.delay_told_at, d.asked_at, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM delivery d JOIN message m ON m.id = d.message_id
WHERE d.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY d.id

-- name: claimed
SELECT d.id, d.organisation_id, d.copy_id, d.message_id, d.campaign_id, d.reverse_path, d.recipient, d.recipient_domain,
  d.attempt_count, d.give_up_at, d.created_at, d.notify, d.orcpt, d.ret, d.envid, d.require_tls, d.purpose,
  d.may_tell, d.delay_told_at, d.asked_at, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM delivery d JOIN message m ON m.id = d.message_id
WHERE d.id IN (SELECT value FROM json_each($1)) ORDER BY d.id

-- name: next_due @postgres
-- When the next row that may be claimed becomes due.
SELECT next_try_at FROM delivery WHERE connector = '' AND state = 'due'
  AND recipient_domain NOT IN (SELECT value FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY next_try_at LIMIT 1

-- name: next_due
SELECT next_try_at FROM delivery WHERE connector = '' AND state = 'due' AND recipient_domain NOT IN (SELECT value FROM json_each($1))
ORDER BY next_try_at LIMIT 1

-- name: renew_leases
UPDATE delivery SET lease_until = $1 WHERE lease_owner = $2 AND lease_owner <> ''

-- name: expire_leases
-- A dead process's rows come back; the attempt that was under way may have reached the host, so it counts.
UPDATE delivery SET lease_owner = '', lease_until = 0, state = CASE WHEN state = 'leased' THEN 'due' ELSE state END
WHERE lease_owner <> '' AND lease_until < $1

-- name: leasing_owners
SELECT DISTINCT lease_owner FROM delivery WHERE lease_owner <> ''

-- name: expire_leases_of
-- As expire_leases, for one owner that is known to be dead.
UPDATE delivery SET lease_owner = '', lease_until = 0, state = CASE WHEN state = 'leased' THEN 'due' ELSE state END
WHERE lease_owner = $1 AND lease_owner <> ''

-- name: held_of_owner
SELECT id FROM delivery WHERE lease_owner = $1 AND state = 'held' AND lease_owner <> ''

-- name: attempts_of_owner @postgres
-- $2: those asked about. Which of them $1 has, each with its tries: one that it lost and claimed again has more.
SELECT id, attempt_count FROM delivery WHERE lease_owner = $1 AND lease_owner <> ''
  AND id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: attempts_of_owner
SELECT id, attempt_count FROM delivery WHERE lease_owner = $1 AND lease_owner <> ''
  AND id IN (SELECT value FROM json_each($2))

-- name: release
-- An attempt that was not made: it does not count.
UPDATE delivery SET lease_owner = '', lease_until = 0, attempt_count = attempt_count - 1,
  state = CASE WHEN state = 'leased' THEN 'due' ELSE state END
WHERE id = $1 AND lease_owner = $2 AND attempt_count = $3

-- name: postpone
-- As release, and not before $1: a limit or a pause of its host decides.
UPDATE delivery SET lease_owner = '', lease_until = 0, attempt_count = attempt_count - 1, next_try_at = $1,
  state = CASE WHEN state = 'leased' THEN 'due' ELSE state END
WHERE id = $2 AND lease_owner = $3 AND attempt_count = $4

-- name: delay_told
-- The delay warning goes with the result of this try, once.
UPDATE delivery SET delay_told_at = $1 WHERE id = $2 AND delay_told_at = 0

-- name: finish @postgres
-- To done or failed, from leased or from held with the attempt under way. $1: rows of [state, reply, id, lease owner, tries].
-- The tries: a result whose answer was lost is written again, and by then the same owner may have begun the next try.
UPDATE delivery SET state = t.v ->> 0, last_reply = t.v ->> 1, lease_owner = '', lease_until = 0
FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE id = CAST(t.v ->> 2 AS BIGINT) AND lease_owner = t.v ->> 3 AND attempt_count = CAST(t.v ->> 4 AS BIGINT)
  AND state IN ('leased', 'held')

-- name: finish
-- To done or failed, from leased or from held with the attempt under way. For each row of [state, reply, id, lease owner,
-- tries].
UPDATE delivery SET state = $1, last_reply = $2, lease_owner = '', lease_until = 0
WHERE id = $3 AND lease_owner = $4 AND attempt_count = $5 AND state IN ('leased', 'held')

-- name: defer @postgres
-- $1: rows of [next try, reply, id, lease owner, tries].
UPDATE delivery SET state = CASE WHEN state = 'leased' THEN 'due' ELSE state END,
  next_try_at = CAST(t.v ->> 0 AS BIGINT), last_reply = t.v ->> 1, lease_owner = '', lease_until = 0
FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE id = CAST(t.v ->> 2 AS BIGINT) AND lease_owner = t.v ->> 3 AND attempt_count = CAST(t.v ->> 4 AS BIGINT)
  AND state IN ('leased', 'held')

-- name: defer
-- For each row of [next try, reply, id, lease owner, tries].
UPDATE delivery SET state = CASE WHEN state = 'leased' THEN 'due' ELSE state END,
  next_try_at = $1, last_reply = $2, lease_owner = '', lease_until = 0
WHERE id = $3 AND lease_owner = $4 AND attempt_count = $5 AND state IN ('leased', 'held')

-- name: hold_campaign
UPDATE delivery SET state = 'held' WHERE campaign_id = $1 AND state IN ('due', 'leased')

-- name: resume_campaign
UPDATE delivery SET state = CASE WHEN lease_owner <> '' THEN 'leased' ELSE 'due' END
WHERE campaign_id = $1 AND state = 'held'

-- name: campaign_counts
-- How many hand-overs of a campaign are in each state.
SELECT state, COUNT(*) AS n FROM delivery WHERE campaign_id = $1 GROUP BY state ORDER BY state

-- name: hold
UPDATE delivery SET state = 'held' WHERE organisation_id = $1 AND id = $2 AND state IN ('due', 'leased')

-- name: retry_now
-- Also frees a held row. A leased one is being tried.
UPDATE delivery SET next_try_at = CASE WHEN lease_owner <> '' THEN next_try_at ELSE $3 END, asked_at = $3,
  state = CASE WHEN lease_owner <> '' THEN 'leased' ELSE 'due' END
WHERE organisation_id = $1 AND id = $2 AND state IN ('due', 'held')

-- name: delete
-- Only what nobody is trying.
UPDATE delivery SET state = 'failed', last_reply = $3
WHERE organisation_id = $1 AND id = $2 AND state IN ('due', 'held') AND lease_owner = ''

-- name: by_id
SELECT id, organisation_id, copy_id, message_id, campaign_id, reverse_path, recipient, recipient_domain, state,
  attempt_count, next_try_at, give_up_at, last_reply, created_at
FROM delivery WHERE organisation_id = $1 AND id = $2

-- name: summary
-- The partial index delivery_in_queue holds only what still waits.
SELECT d.recipient_domain, d.state, COUNT(*) AS n, MIN(d.created_at) AS oldest_at, MIN(d.next_try_at) AS next_try_at,
  (SELECT x.last_reply FROM delivery x WHERE x.organisation_id = d.organisation_id AND x.state = d.state
     AND x.recipient_domain = d.recipient_domain AND x.state IN ('due', 'leased', 'held')
   ORDER BY x.id DESC LIMIT 1) AS last_reply
FROM delivery d WHERE d.organisation_id = $1 AND d.state IN ('due', 'leased', 'held')
GROUP BY d.organisation_id, d.recipient_domain, d.state ORDER BY d.recipient_domain, d.state LIMIT $2

-- name: list
-- $2 domain or '', $3 state or '', $4 the last id seen or 0.
SELECT id, organisation_id, copy_id, message_id, campaign_id, reverse_path, recipient, recipient_domain, state,
  attempt_count, next_try_at, give_up_at, last_reply, created_at
FROM delivery WHERE organisation_id = $1 AND state IN ('due', 'leased', 'held')
  AND (CAST($2 AS TEXT) = '' OR recipient_domain = $2) AND (CAST($3 AS TEXT) = '' OR state = $3) AND id > $4
ORDER BY id LIMIT $5
