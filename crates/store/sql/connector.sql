-- Mailboxes of other systems, reached by LMTP and IMAP.

-- name: copies @postgres
-- What a connector has to know of some copies: whose mailbox, which message, since when it can be there.
SELECT c.id, COALESCE(c.received_message_id, c.message_id) AS message_id, b.id AS mailbox_id, b.address, m.received_at,
  m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM copy c JOIN mailbox b ON b.person_id = c.person_id
JOIN message m ON m.id = COALESCE(c.received_message_id, c.message_id)
WHERE c.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value)) ORDER BY c.id

-- name: copies
SELECT c.id, COALESCE(c.received_message_id, c.message_id) AS message_id, b.id AS mailbox_id, b.address, m.received_at,
  m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM copy c JOIN mailbox b ON b.person_id = c.person_id
JOIN message m ON m.id = COALESCE(c.received_message_id, c.message_id)
WHERE c.id IN (SELECT value FROM json_each($1)) ORDER BY c.id

-- name: mailbox
SELECT id, person_id, address, connector FROM mailbox WHERE id = $1

-- name: hold
-- The first snapshot stays: what is in the holding folder already was seen then.
INSERT INTO connector_held (copy_id, connector, mailbox_id, message_id, snapshot, held_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (copy_id) DO NOTHING

-- name: held @postgres
SELECT copy_id, mailbox_id, message_id, snapshot, held_at FROM connector_held
WHERE connector = $1
  AND copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)) ORDER BY copy_id

-- name: held
SELECT copy_id, mailbox_id, message_id, snapshot, held_at FROM connector_held
WHERE connector = $1 AND copy_id IN (SELECT value FROM json_each($2)) ORDER BY copy_id

-- name: let_go @postgres
DELETE FROM connector_held
WHERE copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: let_go
DELETE FROM connector_held WHERE copy_id IN (SELECT value FROM json_each($1))

-- name: left_behind
-- What somebody who died (or a mailbox system that stopped answering) left in holding folders, oldest first.
SELECT h.copy_id, h.message_id, h.snapshot, c.place FROM connector_held h JOIN copy c ON c.id = h.copy_id
WHERE h.connector = $1 AND h.held_at < $2 ORDER BY h.held_at, h.copy_id LIMIT $3

-- name: insert_hand_over
-- A hand-over to a mailbox system; its recipient_domain names the connector, so that the queue shows it as one line. It
-- has no campaign_id: pausing a campaign holds back what goes out, not what has arrived.
INSERT INTO delivery (id, organisation_id, copy_id, message_id, campaign_id, reverse_path, recipient, recipient_domain,
  state, attempt_count, next_try_at, give_up_at, created_at, connector, folder_role, notify, orcpt, ret, envid)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)

-- name: claim_hand_overs @postgres
UPDATE delivery SET state = 'leased', lease_owner = $1, lease_until = $2, attempt_count = attempt_count + 1
WHERE id IN (
  SELECT id FROM delivery WHERE connector = $3 AND state = 'due' AND next_try_at <= $4
  ORDER BY next_try_at, id LIMIT $5 FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: claim_hand_overs
UPDATE delivery SET state = 'leased', lease_owner = $1, lease_until = $2, attempt_count = attempt_count + 1
WHERE id IN (
  SELECT id FROM delivery WHERE connector = $3 AND state = 'due' AND next_try_at <= $4 ORDER BY next_try_at, id LIMIT $5)
RETURNING id

-- name: claimed_hand_overs @postgres
SELECT d.id, d.organisation_id, d.copy_id, d.message_id, c.campaign_id, d.reverse_path, d.recipient, d.attempt_count,
  d.give_up_at, d.created_at, d.folder_role, d.notify, d.orcpt, d.ret, d.envid, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256, m.received_at,
  m.rule_set_id, b.id AS mailbox_id, b.address
FROM delivery d JOIN message m ON m.id = d.message_id JOIN copy c ON c.id = d.copy_id
JOIN mailbox b ON b.person_id = c.person_id
WHERE d.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value)) ORDER BY d.id

-- name: claimed_hand_overs
SELECT d.id, d.organisation_id, d.copy_id, d.message_id, c.campaign_id, d.reverse_path, d.recipient, d.attempt_count,
  d.give_up_at, d.created_at, d.folder_role, d.notify, d.orcpt, d.ret, d.envid, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256, m.received_at,
  m.rule_set_id, b.id AS mailbox_id, b.address
FROM delivery d JOIN message m ON m.id = d.message_id JOIN copy c ON c.id = d.copy_id
JOIN mailbox b ON b.person_id = c.person_id
WHERE d.id IN (SELECT value FROM json_each($1)) ORDER BY d.id

-- name: expire_hand_over_leases
-- A dead process's rows come back; what was under way may have arrived, so it counts as a try.
UPDATE delivery SET lease_owner = '', lease_until = 0, state = CASE WHEN state = 'leased' THEN 'due' ELSE state END
WHERE connector = $1 AND lease_owner <> '' AND lease_until < $2

-- name: next_hand_over
SELECT next_try_at FROM delivery WHERE connector = $1 AND state = 'due' ORDER BY next_try_at LIMIT 1

-- name: active_rules
SELECT id, change_id FROM rule_set WHERE organisation_id = $1 AND active = 1 ORDER BY id DESC LIMIT 1

-- name: waiting
-- What waits for each mailbox system, from the partial index of hand-overs.
SELECT d.connector, COUNT(*) AS n, COUNT(*) FILTER (WHERE d.state = 'held') AS held_count, MIN(d.created_at) AS oldest_at,
  MIN(CASE WHEN d.state = 'due' THEN d.next_try_at END) AS next_try_at,
  COALESCE((SELECT x.last_reply FROM delivery x WHERE x.connector = d.connector AND x.connector <> ''
    AND x.state IN ('due', 'leased', 'held') AND x.last_reply <> '' ORDER BY x.id DESC LIMIT 1), '') AS last_reply
FROM delivery d WHERE d.organisation_id = $1 AND d.connector <> '' AND d.state IN ('due', 'leased', 'held')
GROUP BY d.connector ORDER BY d.connector

-- name: waiting_for
-- What waits for one person's mailbox.
SELECT COUNT(*) AS n, MIN(d.created_at) AS oldest_at FROM delivery d
WHERE d.organisation_id = $1 AND d.connector = $2 AND d.connector <> '' AND d.state IN ('due', 'leased', 'held')
  AND d.recipient = $3

-- name: waiting_address
-- An address that something waits for: the best one to ask a mailbox system about.
SELECT b.address FROM delivery d JOIN copy c ON c.id = d.copy_id JOIN mailbox b ON b.person_id = c.person_id
WHERE d.organisation_id = $1 AND d.connector = $2 AND d.connector <> '' AND d.state IN ('due', 'leased', 'held') LIMIT 1

-- name: chosen
-- How many mailboxes say themselves which system keeps them.
SELECT connector, COUNT(*) AS n FROM mailbox WHERE organisation_id = $1 AND connector <> '' GROUP BY connector ORDER BY connector

-- name: mailboxes
-- Mailboxes that this connector may keep: by themselves, or by what is configured for their domain.
SELECT id, address, connector FROM mailbox WHERE organisation_id = $1 AND connector IN ('', $2) AND id > $3 ORDER BY id LIMIT $4

-- name: of_person
-- A person's mailbox and how much of it lies here.
SELECT b.id, b.address, b.connector, (SELECT COUNT(*) FROM folder f JOIN mail_item i ON i.folder_id = f.id WHERE f.mailbox_id = b.id) AS item_count
FROM mailbox b WHERE b.organisation_id = $1 AND b.person_id = $2

-- name: choose
UPDATE mailbox SET connector = $3 WHERE organisation_id = $1 AND person_id = $2
