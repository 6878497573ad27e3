-- What the gateway writes and asks, and the message trace.

-- name: insert_received_copy
-- The first arrival of a campaign copy owns this row; a second one is a conflict, which is how a resend is recognised.
INSERT INTO received_copy (copy_id, message_id, received_at) VALUES ($1, $2, $3)

-- name: received_copy
SELECT copy_id, message_id, received_at FROM received_copy WHERE copy_id = $1

-- name: take_copy @postgres
-- The arrival of a campaign copy: the row that was born when it was enqueued learns what became of it here.
-- $1: rows of [message id, disposition, policy, decision, copy id, campaign id].
UPDATE copy SET received_message_id = CAST(t.v ->> 0 AS BIGINT), disposition = t.v ->> 1, policy = t.v ->> 2,
  decision = t.v ->> 3
FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE id = CAST(t.v ->> 4 AS BIGINT) AND campaign_id = CAST(t.v ->> 5 AS BIGINT)

-- name: take_copy
-- The arrival of a campaign copy: the row that was born when it was enqueued learns what became of it here.
-- For each row of [message id, disposition, policy, decision, copy id, campaign id].
UPDATE copy SET received_message_id = $1, disposition = $2, policy = $3, decision = $4 WHERE id = $5 AND campaign_id = $6

-- name: sender_known
-- One probe of message_by_sender.
SELECT id FROM message WHERE organisation_id = $1 AND from_address = $2 AND received_at < $3 LIMIT 1

-- name: trace_recent
-- $1 organisation, $2 limit, $3 recipient, $4 sender, $5 place, $6 last event, $7 pattern of the subject, $8 campaign or 0,
-- $9 and $10 the time range; '' means any. From $11 on: where the page starts, which is what differs between these
-- statements, each of which walks the index of the filter that selects most. The plus before organisation_id keeps planners
-- from the indexes that begin with it: here the ids are walked, newest first.
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, c.message_id AS seek_message_id,
  COALESCE(r.verdict_class, m.verdict_class) AS verdict_class
FROM copy c JOIN message m ON m.id = c.message_id LEFT JOIN message r ON r.id = c.received_message_id
WHERE +c.organisation_id = $1 AND c.id < $11 AND c.id >= $12
  AND (CAST($3 AS TEXT) = '' OR c.recipient = $3) AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR m.reverse_path = $4)
  AND (CAST($5 AS TEXT) = '' OR c.place = $5) AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY c.id DESC LIMIT $2

-- name: trace_by_recipient
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, c.message_id AS seek_message_id,
  COALESCE(r.verdict_class, m.verdict_class) AS verdict_class
FROM copy c JOIN message m ON m.id = c.message_id LEFT JOIN message r ON r.id = c.received_message_id
WHERE c.organisation_id = $1 AND c.recipient = $3 AND c.id < $11 AND c.id >= $12
  AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR m.reverse_path = $4)
  AND (CAST($5 AS TEXT) = '' OR c.place = $5) AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY c.id DESC LIMIT $2

-- name: trace_by_place
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, c.message_id AS seek_message_id,
  COALESCE(r.verdict_class, m.verdict_class) AS verdict_class
FROM copy c JOIN message m ON m.id = c.message_id LEFT JOIN message r ON r.id = c.received_message_id
WHERE c.organisation_id = $1 AND c.place = $5 AND c.id < $11 AND c.id >= $12
  AND (CAST($3 AS TEXT) = '' OR c.recipient = $3) AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR m.reverse_path = $4)
  AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY c.id DESC LIMIT $2

-- name: trace_by_sender
-- The range on received_at is what the index walks; the row value continues inside one instant.
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, c.message_id AS seek_message_id,
  COALESCE(r.verdict_class, m.verdict_class) AS verdict_class
FROM message m JOIN copy c ON c.message_id = m.id LEFT JOIN message r ON r.id = c.received_message_id
WHERE m.organisation_id = $1 AND m.from_address = $4 AND m.received_at <= $11
  AND (m.received_at, m.id, c.id) < ($11, $12, $13)
  AND (CAST($3 AS TEXT) = '' OR c.recipient = $3)
  AND (CAST($5 AS TEXT) = '' OR c.place = $5) AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY m.received_at DESC, m.id DESC, c.id DESC LIMIT $2

-- name: trace_by_term
-- $14: which kind of term, a word of the subject or the host of a link.
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, t.message_id AS seek_message_id,
  m.verdict_class
FROM message_term t JOIN copy c ON c.received_message_id = t.message_id JOIN message m ON m.id = t.message_id
WHERE t.kind = $14 AND t.value = $11 AND t.message_id <= $12 AND (t.message_id, c.id) < ($12, $13)
  AND c.organisation_id = $1 AND (CAST($3 AS TEXT) = '' OR c.recipient = $3)
  AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR m.reverse_path = $4)
  AND (CAST($5 AS TEXT) = '' OR c.place = $5) AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY t.message_id DESC, c.id DESC LIMIT $2

-- name: trace_by_header
-- The plus: see trace_recent; message_by_header is the index to walk.
SELECT c.id, c.message_id, c.received_message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.created_at, c.disposition, c.policy, m.from_address, m.from_name, m.reverse_path, m.subject,
  m.message_id_header, m.direction, m.received_at AS seek_at, c.message_id AS seek_message_id,
  COALESCE(r.verdict_class, m.verdict_class) AS verdict_class
FROM message m JOIN copy c ON c.message_id = m.id LEFT JOIN message r ON r.id = c.received_message_id
WHERE m.message_id_header = $11 AND +m.organisation_id = $1 AND c.id < $12
  AND (CAST($3 AS TEXT) = '' OR c.recipient = $3) AND (CAST($4 AS TEXT) = '' OR m.from_address = $4 OR m.reverse_path = $4)
  AND (CAST($5 AS TEXT) = '' OR c.place = $5) AND (CAST($6 AS TEXT) = '' OR c.last_event = $6)
  AND m.subject_lower LIKE $7 ESCAPE '!' AND (CAST($8 AS BIGINT) = 0 OR c.campaign_id = $8)
  AND c.created_at >= $9 AND c.created_at < $10
ORDER BY c.id DESC LIMIT $2
