-- Copies: one message for one recipient, the unit of everything. place and last_event equal the fold of its events.

-- name: insert
INSERT INTO copy (id, organisation_id, message_id, received_message_id, campaign_id, person_id, recipient, place,
  place_detail, last_event, last_event_at, place_at, disposition, policy, decision, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)

-- name: lock @postgres
SELECT id, place, place_detail, last_event, last_event_at, place_at FROM copy WHERE id = $1 FOR UPDATE

-- name: lock
-- SQLite has one writer: being in a transaction is the lock.
SELECT id, place, place_detail, last_event, last_event_at, place_at FROM copy WHERE id = $1

-- name: lock_many @postgres
-- Locked in the order of ids, so that two transactions never wait for each other.
SELECT id, place, place_detail, last_event, last_event_at, place_at FROM copy
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_many
SELECT id, place, place_detail, last_event, last_event_at, place_at FROM copy
WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id

-- name: set_whereabouts
UPDATE copy SET place = $1, place_detail = $2, last_event = $3, last_event_at = $4, place_at = $5 WHERE id = $6

-- name: by_id
SELECT id, organisation_id, message_id, received_message_id, campaign_id, person_id, recipient, place, place_detail,
  last_event, last_event_at, place_at, disposition, policy, decision, created_at
FROM copy WHERE id = $1
