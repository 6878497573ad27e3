-- The outbound queue as people look at it and act on it. A selection is $1 organisation, $2 domain, $3 MX group, $4 sender
-- (MAIL FROM or From), $5 campaign, $6 state, $7 one hand-over; '' and 0 let everything through. The MX group is that of the last try;
-- before the first it is the domain.

-- name: groups
-- One row per MX group, the largest first. last_id is the newest hand-over that was tried: its reply is the last word.
SELECT g.mx_group, g.n, g.due_count, g.leased_count, g.held_count, g.domain_count, g.oldest_at, g.next_try_at,
  COALESCE(x.last_reply, '') AS last_reply
FROM (
  SELECT CASE WHEN mx_group = '' THEN recipient_domain ELSE mx_group END AS mx_group, COUNT(*) AS n,
    COUNT(*) FILTER (WHERE state = 'due') AS due_count, COUNT(*) FILTER (WHERE state = 'leased') AS leased_count,
    COUNT(*) FILTER (WHERE state = 'held') AS held_count, COUNT(DISTINCT recipient_domain) AS domain_count,
    MIN(created_at) AS oldest_at, MIN(CASE WHEN state = 'due' THEN next_try_at END) AS next_try_at,
    MAX(CASE WHEN last_reply <> '' THEN id END) AS last_id
  FROM delivery WHERE organisation_id = $1 AND state IN ('due', 'leased', 'held') GROUP BY 1
) AS g LEFT JOIN delivery x ON x.id = g.last_id
ORDER BY g.n DESC, g.mx_group LIMIT $2

-- name: list
SELECT d.id, d.organisation_id, d.copy_id, d.message_id, d.campaign_id, d.reverse_path, d.recipient, d.recipient_domain,
  CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END AS mx_group, d.state, d.attempt_count,
  d.next_try_at, d.give_up_at, d.last_reply, d.created_at, m.from_address, m.subject
FROM delivery d JOIN message m ON m.id = d.message_id
WHERE d.organisation_id = $1 AND d.state IN ('due', 'leased', 'held')
  AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
  AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
  AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
  AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
  AND (CAST($7 AS BIGINT) = 0 OR d.id = $7) AND d.id > $8
ORDER BY d.id LIMIT $9

-- name: count
-- What an action on a selection would touch.
SELECT COUNT(*) AS n, COUNT(*) FILTER (WHERE d.state = 'due') AS due_count,
  COUNT(*) FILTER (WHERE d.state = 'leased' OR d.lease_owner <> '') AS leased_count,
  COUNT(*) FILTER (WHERE d.state = 'held') AS held_count, COUNT(DISTINCT d.recipient_domain) AS domain_count,
  COUNT(DISTINCT d.campaign_id) AS campaign_count, MIN(d.created_at) AS oldest_at
FROM delivery d JOIN message m ON m.id = d.message_id
WHERE d.organisation_id = $1 AND d.state IN ('due', 'leased', 'held')
  AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
  AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
  AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
  AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
  AND (CAST($7 AS BIGINT) = 0 OR d.id = $7)

-- name: hold
-- One that is being tried ends its try first.
UPDATE delivery SET state = 'held' WHERE id IN (
  SELECT d.id FROM delivery d JOIN message m ON m.id = d.message_id
  WHERE d.organisation_id = $1 AND d.state IN ('due', 'leased')
    AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
    AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
    AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
    AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
    AND (CAST($7 AS BIGINT) = 0 OR d.id = $7))
  AND state IN ('due', 'leased')

-- name: retry
-- Due now ($8), also what is paused, unless its campaign is paused (it is resumed as a whole) or cancelled.
UPDATE delivery SET next_try_at = CASE WHEN lease_owner <> '' THEN next_try_at ELSE $8 END, asked_at = $8,
  state = CASE WHEN lease_owner <> '' THEN 'leased' ELSE 'due' END
WHERE id IN (
  SELECT d.id FROM delivery d JOIN message m ON m.id = d.message_id LEFT JOIN campaign g ON g.id = d.campaign_id
  WHERE d.organisation_id = $1 AND d.state IN ('due', 'held') AND (g.state IS NULL OR g.state NOT IN ('paused', 'cancelled'))
    AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
    AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
    AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
    AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
    AND (CAST($7 AS BIGINT) = 0 OR d.id = $7))
  AND state IN ('due', 'held')

-- name: flush
-- Everything that waits for its time is due now; what is paused stays paused.
UPDATE delivery SET next_try_at = $8, asked_at = $8 WHERE id IN (
  SELECT d.id FROM delivery d JOIN message m ON m.id = d.message_id
  WHERE d.organisation_id = $1 AND d.state = 'due'
    AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
    AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
    AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
    AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
    AND (CAST($7 AS BIGINT) = 0 OR d.id = $7))
  AND state = 'due'

-- name: asked_groups
-- The MX groups of what was asked for at $2.
SELECT DISTINCT mx_group FROM delivery
WHERE organisation_id = $1 AND state IN ('due', 'leased') AND asked_at = $2 AND mx_group <> '' LIMIT $3

-- name: delete
-- Only what nobody is trying; $8 what is noted as the last word, $9 how many at a time.
UPDATE delivery SET state = 'failed', last_reply = $8 WHERE id IN (
  SELECT d.id FROM delivery d JOIN message m ON m.id = d.message_id
  WHERE d.organisation_id = $1 AND d.state IN ('due', 'held') AND d.lease_owner = ''
    AND (CAST($2 AS TEXT) = '' OR d.recipient_domain = $2)
    AND (CAST($3 AS TEXT) = '' OR CASE WHEN d.mx_group = '' THEN d.recipient_domain ELSE d.mx_group END = $3)
    AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR LOWER(d.reverse_path) = $4)
    AND (CAST($5 AS BIGINT) = 0 OR d.campaign_id = $5) AND (CAST($6 AS TEXT) = '' OR d.state = $6)
    AND (CAST($7 AS BIGINT) = 0 OR d.id = $7)
  ORDER BY d.id LIMIT $9)
  AND state IN ('due', 'held') AND lease_owner = ''
RETURNING copy_id, campaign_id

-- name: may_be_double
-- Whether a try ended unclearly: then a host may have the copy although nothing says so.
SELECT id FROM event WHERE copy_id = $1 AND kind = 'may_be_double' LIMIT 1

-- name: set_group
UPDATE delivery SET mx_group = $1 WHERE id = $2

-- name: totals
-- The queue in numbers.
SELECT state, COUNT(*) AS n, MIN(created_at) AS oldest_at FROM delivery
WHERE organisation_id = $1 AND state IN ('due', 'leased', 'held') GROUP BY state ORDER BY state

-- name: limits
-- What limits outgoing mail now, process by process.
SELECT owner, line FROM outbound_limit WHERE written_at >= $1 ORDER BY owner, position LIMIT $2

-- name: put_limit
INSERT INTO outbound_limit (owner, position, line, written_at) VALUES ($1, $2, $3, $4)

-- name: forget_limits
-- Those of one process, and of dead ones.
DELETE FROM outbound_limit WHERE owner = $1 OR written_at < $2
