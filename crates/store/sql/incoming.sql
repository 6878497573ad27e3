-- The incoming queue: mail that was accepted and is in no mailbox yet.

-- name: insert
INSERT INTO incoming (id, organisation_id, owner, received_at, due_at, try_count, size_bytes, envelope, raw)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: insert_recipient
INSERT INTO incoming_recipient (incoming_id, position, recipient, disposition) VALUES ($1, $2, $3, $4)

-- name: due
-- $3: whose. In the order in which it came.
SELECT id, received_at, envelope, raw FROM incoming
WHERE organisation_id = $1 AND due_at <= $2 AND owner = $3 ORDER BY id LIMIT $4

-- name: left_behind
-- What others took in before $3 and have not entered. From the other end, so that two who help each other seldom meet.
SELECT id, received_at, envelope, raw FROM incoming
WHERE organisation_id = $1 AND due_at <= $2 AND received_at <= $3 ORDER BY id DESC LIMIT $4

-- name: take @postgres
-- Whoever removes the row enters the mail: two workers never do. $1: rows of [id].
DELETE FROM incoming
WHERE id IN (SELECT CAST(t.v ->> 0 AS BIGINT) FROM json_array_elements(CAST($1 AS JSON)) AS t(v))

-- name: take
DELETE FROM incoming WHERE id = $1

-- name: take_recipients @postgres
DELETE FROM incoming_recipient
WHERE incoming_id IN (SELECT CAST(t.v ->> 0 AS BIGINT) FROM json_array_elements(CAST($1 AS JSON)) AS t(v))

-- name: take_recipients
DELETE FROM incoming_recipient WHERE incoming_id = $1

-- name: arrived
-- Whether a commit whose answer was lost had come to pass: it waits here, or was entered as this message.
SELECT id FROM incoming WHERE id = $1 UNION ALL SELECT id FROM message WHERE id = $1

-- name: tries
SELECT try_count FROM incoming WHERE id = $1

-- name: put_off
UPDATE incoming SET try_count = try_count + 1, due_at = $2 WHERE id = $1

-- name: waiting
SELECT COUNT(*) AS mail_count, CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) AS size_bytes, MIN(received_at) AS oldest_at
FROM incoming WHERE organisation_id = $1

-- name: recipients
-- Accepted for these and in no mailbox yet, the oldest first.
SELECT r.incoming_id, r.recipient, r.disposition, i.received_at, i.try_count
FROM incoming i JOIN incoming_recipient r ON r.incoming_id = i.id
WHERE i.organisation_id = $1 ORDER BY r.incoming_id, r.position LIMIT $2
