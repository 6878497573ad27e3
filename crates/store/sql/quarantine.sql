-- The quarantine: one row per time that a copy was held. A status changes only while the copy is locked (copy.lock_many).

-- name: insert
-- status is needs_review. snapshot and cause_id: only what was pulled back has them (cause_id also what a change held).
INSERT INTO quarantine_item (id, organisation_id, copy_id, message_id, campaign_id, recipient, sender, subject,
  subject_lower, size_bytes, held_by, reason, policy_name, explanation, permissions, status, snapshot, cause_id, held_at,
  expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)

-- name: list
-- Newest first. A filter that is empty (or 0) lets everything through; $9 is a pattern on the lower-cased subject.
SELECT q.id, q.copy_id, q.message_id, q.campaign_id, q.recipient, q.sender, q.subject, q.size_bytes, q.held_by, q.reason,
  q.policy_name, q.explanation, q.permissions, q.status, q.snapshot, q.cause_id, q.held_at, q.expires_at, q.requested_by,
  q.decided_by, q.decided_at
FROM quarantine_item q
WHERE q.organisation_id = $1 AND (CAST($2 AS TEXT) = '' OR q.status = $2)
  AND (CAST($3 AS TEXT) = '' OR q.reason = $3) AND (CAST($4 AS TEXT) = '' OR q.held_by = $4)
  AND (CAST($5 AS BIGINT) = 0 OR q.campaign_id = $5) AND (CAST($6 AS BIGINT) = 0 OR q.cause_id = $6)
  AND (CAST($7 AS TEXT) = '' OR q.recipient = $7) AND (CAST($8 AS TEXT) = '' OR q.sender = $8)
  AND (CAST($9 AS TEXT) = '' OR q.subject_lower LIKE $9 ESCAPE '!') AND q.held_at >= $10 AND q.held_at < $11
  AND q.id < $12 ORDER BY q.id DESC LIMIT $13

-- name: facets
-- One small cube; whoever asks sums it up by each side.
SELECT q.status, q.reason, q.held_by, COUNT(*) AS item_count FROM quarantine_item q
WHERE q.organisation_id = $1 AND (CAST($2 AS TEXT) = '' OR q.status = $2)
  AND (CAST($3 AS TEXT) = '' OR q.reason = $3) AND (CAST($4 AS TEXT) = '' OR q.held_by = $4)
  AND (CAST($5 AS BIGINT) = 0 OR q.campaign_id = $5) AND (CAST($6 AS BIGINT) = 0 OR q.cause_id = $6)
  AND (CAST($7 AS TEXT) = '' OR q.recipient = $7) AND (CAST($8 AS TEXT) = '' OR q.sender = $8)
  AND (CAST($9 AS TEXT) = '' OR q.subject_lower LIKE $9 ESCAPE '!') AND q.held_at >= $10 AND q.held_at < $11
GROUP BY q.status, q.reason, q.held_by

-- name: campaigns
SELECT q.campaign_id, COUNT(*) AS item_count FROM quarantine_item q
WHERE q.organisation_id = $1 AND (CAST($2 AS TEXT) = '' OR q.status = $2)
  AND (CAST($3 AS TEXT) = '' OR q.reason = $3) AND (CAST($4 AS TEXT) = '' OR q.held_by = $4)
  AND (CAST($5 AS BIGINT) = 0 OR q.campaign_id = $5) AND (CAST($6 AS BIGINT) = 0 OR q.cause_id = $6)
  AND (CAST($7 AS TEXT) = '' OR q.recipient = $7) AND (CAST($8 AS TEXT) = '' OR q.sender = $8)
  AND (CAST($9 AS TEXT) = '' OR q.subject_lower LIKE $9 ESCAPE '!') AND q.held_at >= $10 AND q.held_at < $11
  AND q.campaign_id IS NOT NULL GROUP BY q.campaign_id ORDER BY item_count DESC, q.campaign_id LIMIT $12

-- name: detail
SELECT q.id, q.copy_id, q.message_id, q.campaign_id, q.recipient, q.sender, q.subject, q.size_bytes, q.held_by, q.reason,
  q.policy_name, q.explanation, q.permissions, q.status, q.snapshot, q.cause_id, q.held_at, q.expires_at, q.requested_by,
  q.decided_by, q.decided_at,
  m.facts, m.verdict, m.from_address, m.from_name, m.reverse_path, m.client_ip, m.message_id_header, m.received_at,
  m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM quarantine_item q JOIN message m ON m.id = q.message_id WHERE q.organisation_id = $1 AND q.id = $2

-- name: own
-- What one person may know of, newest first: permissions 0 means that only administrators see it.
SELECT q.id, q.copy_id, q.message_id, q.campaign_id, q.recipient, q.sender, q.subject, q.size_bytes, q.held_by, q.reason,
  q.policy_name, q.explanation, q.permissions, q.status, q.snapshot, q.cause_id, q.held_at, q.expires_at, q.requested_by,
  q.decided_by, q.decided_at
FROM copy c JOIN quarantine_item q ON q.copy_id = c.id
WHERE c.organisation_id = $1 AND c.person_id = $2 AND q.permissions <> 0 AND q.id < $3 ORDER BY q.id DESC LIMIT $4

-- name: own_one
SELECT q.id FROM copy c JOIN quarantine_item q ON q.copy_id = c.id
WHERE c.organisation_id = $1 AND c.person_id = $2 AND q.id = $3 AND q.permissions <> 0

-- name: count_items @postgres
-- A cube as facets has, and how many of each cell somebody else than $3 has asked for.
SELECT q.status, q.held_by, q.reason, COUNT(*) AS item_count,
  CAST(SUM(CASE WHEN q.status = 'requested' AND q.requested_by <> $3 THEN 1 ELSE 0 END) AS BIGINT) AS by_others_count
FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)) GROUP BY q.status, q.held_by, q.reason

-- name: count_items
SELECT q.status, q.held_by, q.reason, COUNT(*) AS item_count,
  CAST(SUM(CASE WHEN q.status = 'requested' AND q.requested_by <> $3 THEN 1 ELSE 0 END) AS BIGINT) AS by_others_count
FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.id IN (SELECT value FROM json_each($2)) GROUP BY q.status, q.held_by, q.reason

-- name: count_campaign
SELECT q.status, q.held_by, q.reason, COUNT(*) AS item_count,
  CAST(SUM(CASE WHEN q.status = 'requested' AND q.requested_by <> $3 THEN 1 ELSE 0 END) AS BIGINT) AS by_others_count
FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.campaign_id = $2 GROUP BY q.status, q.held_by, q.reason

-- name: count_cause
SELECT q.status, q.held_by, q.reason, COUNT(*) AS item_count,
  CAST(SUM(CASE WHEN q.status = 'requested' AND q.requested_by <> $3 THEN 1 ELSE 0 END) AS BIGINT) AS by_others_count
FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.cause_id = $2 GROUP BY q.status, q.held_by, q.reason

-- name: open_items @postgres
-- The undecided ones of a selection, a page in the order of ids.
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)) AND q.status IN ('needs_review', 'requested', 'denied')
  AND q.id > $3 ORDER BY q.id LIMIT $4

-- name: open_items
-- The undecided ones of a selection, a page in the order of ids.
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.id IN (SELECT value FROM json_each($2)) AND q.status IN ('needs_review', 'requested', 'denied')
  AND q.id > $3 ORDER BY q.id LIMIT $4

-- name: open_campaign
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.campaign_id = $2 AND q.status IN ('needs_review', 'requested', 'denied') AND q.id > $3 ORDER BY q.id LIMIT $4

-- name: open_cause
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.cause_id = $2 AND q.status IN ('needs_review', 'requested', 'denied') AND q.id > $3 ORDER BY q.id LIMIT $4

-- name: open_purged
-- What a change pulled back and nobody has put back yet.
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.cause_id = $2 AND q.held_by = 'purge' AND q.status IN ('needs_review', 'requested', 'denied')
  AND q.id > $3 ORDER BY q.id LIMIT $4

-- name: count_purged
SELECT COUNT(*) AS item_count FROM quarantine_item q
WHERE q.organisation_id = $1 AND q.cause_id = $2 AND q.held_by = 'purge' AND q.status IN ('needs_review', 'requested', 'denied')

-- name: expired
-- Asked every second, and mostly nothing is: the plus signs keep SQLite from walking everything held in the order of ids.
SELECT q.id, q.copy_id FROM quarantine_item q
WHERE +q.organisation_id = $1 AND q.status IN ('needs_review', 'requested', 'denied') AND q.expires_at <= $2 AND +q.id > $3
ORDER BY q.id LIMIT $4

-- name: held_by_ids @postgres
-- Read again once the copies are locked: what a decision needs of each item.
SELECT q.id, q.copy_id, q.message_id, q.campaign_id, q.held_by, q.reason, q.status, q.snapshot, q.cause_id,
  b.id AS mailbox_id
FROM quarantine_item q JOIN copy c ON c.id = q.copy_id LEFT JOIN mailbox b ON b.person_id = c.person_id
WHERE q.organisation_id = $1 AND q.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value)) ORDER BY q.id

-- name: held_by_ids
-- Read again once the copies are locked: what a decision needs of each item.
SELECT q.id, q.copy_id, q.message_id, q.campaign_id, q.held_by, q.reason, q.status, q.snapshot, q.cause_id,
  b.id AS mailbox_id
FROM quarantine_item q JOIN copy c ON c.id = q.copy_id LEFT JOIN mailbox b ON b.person_id = c.person_id
WHERE q.organisation_id = $1 AND q.id IN (SELECT value FROM json_each($2)) ORDER BY q.id

-- name: decide @postgres
UPDATE quarantine_item SET status = $1, decided_by = $2, decided_at = $3
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($4 AS JSON)) AS t(value))

-- name: decide
UPDATE quarantine_item SET status = $1, decided_by = $2, decided_at = $3
WHERE id IN (SELECT value FROM json_each($4))

-- name: request @postgres
UPDATE quarantine_item SET status = 'requested', requested_by = $1
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: request
UPDATE quarantine_item SET status = 'requested', requested_by = $1
WHERE id IN (SELECT value FROM json_each($2))

-- name: facts @postgres
-- For a fresh verdict.
SELECT id, facts FROM message WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: facts
-- For a fresh verdict.
SELECT id, facts FROM message WHERE id IN (SELECT value FROM json_each($1))

-- name: candidates_by_terms @postgres
-- Messages with one of the terms ($5: [[kind, value], …]) of which a copy lies in a mailbox, a page in the order of ids. Of each term
-- the first ones behind the page before, in the order of its index, so that no page reads what later pages will.
-- (OFFSET 0: look each up, rather than read all mailboxes for each page.)
SELECT m.id, m.facts, m.from_address, m.subject, m.subject_lower, m.body_bytes FROM message m
WHERE m.id > $2 AND m.id IN (
  SELECT f.message_id FROM (SELECT t.v->>0 AS kind, t.v->>1 AS value FROM json_array_elements(CAST($5 AS JSON)) AS t(v)) w
  CROSS JOIN LATERAL (
    SELECT x.message_id FROM message_term x JOIN message y ON y.id = x.message_id
    WHERE x.kind = w.kind AND x.value = w.value AND x.message_id > $2 AND y.organisation_id = $1 AND y.received_at >= $3
      AND (EXISTS (SELECT 1 FROM mail_item i WHERE i.message_id = y.id OFFSET 0) OR EXISTS (
        SELECT 1 FROM copy c JOIN mailbox b ON b.person_id = c.person_id
        WHERE c.received_message_id = y.id AND c.place IN ('inbox', 'junk', 'other_folder') OFFSET 0))
    ORDER BY x.message_id LIMIT $4
  ) f
)
ORDER BY m.id LIMIT $4

-- name: count_by_terms @postgres
SELECT COUNT(*) AS copy_count FROM message m JOIN copy c ON c.received_message_id = m.id
WHERE c.place IN ('inbox', 'junk', 'other_folder') AND m.organisation_id = $1 AND m.received_at >= $2
  AND m.id IN (SELECT x.message_id FROM message_term x JOIN (SELECT t.v->>0 AS kind, t.v->>1 AS value FROM json_array_elements(CAST($3 AS JSON)) AS t(v)) w ON w.kind = x.kind AND w.value = x.value)

-- name: candidates_by_terms
-- Messages with one of the terms ($5: [[kind, value], …]) of which a copy lies in a mailbox, a page in the order of ids. Each page
-- begins at the terms, behind the page before: the plus signs keep SQLite from reading all mail of the window for each page.
SELECT m.id, m.facts, m.from_address, m.subject, m.subject_lower, m.body_bytes FROM message m
WHERE +m.organisation_id = $1 AND +m.received_at >= $3
  AND m.id IN (SELECT x.message_id FROM message_term x JOIN (SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS value FROM json_each($5)) w ON w.kind = x.kind AND w.value = x.value WHERE x.message_id > $2)
  AND (EXISTS (SELECT 1 FROM mail_item i WHERE i.message_id = m.id) OR EXISTS (
    SELECT 1 FROM copy c JOIN mailbox b ON b.person_id = c.person_id
    WHERE c.received_message_id = m.id AND c.place IN ('inbox', 'junk', 'other_folder')))
ORDER BY m.id LIMIT $4

-- name: count_by_terms
SELECT COUNT(*) AS copy_count FROM message m JOIN copy c ON c.received_message_id = m.id
WHERE c.place IN ('inbox', 'junk', 'other_folder') AND m.organisation_id = $1 AND m.received_at >= $2
  AND m.id IN (SELECT x.message_id FROM message_term x JOIN (SELECT json_extract(value, '$[0]') AS kind, json_extract(value, '$[1]') AS value FROM json_each($3)) w ON w.kind = x.kind AND w.value = x.value)

-- name: candidates_of_window
-- In the order of ids, so that each page goes on where the last one ended; the plus signs keep SQLite to it.
SELECT m.id, m.facts, m.from_address, m.subject, m.subject_lower, m.body_bytes FROM message m
WHERE +m.organisation_id = $1 AND m.id > $2 AND +m.received_at >= $3
  AND (EXISTS (SELECT 1 FROM mail_item i WHERE i.message_id = m.id) OR EXISTS (
    SELECT 1 FROM copy c JOIN mailbox b ON b.person_id = c.person_id
    WHERE c.received_message_id = m.id AND c.place IN ('inbox', 'junk', 'other_folder')))
ORDER BY m.id LIMIT $4

-- name: count_of_window
SELECT COUNT(*) AS copy_count FROM message m JOIN copy c ON c.received_message_id = m.id
WHERE c.place IN ('inbox', 'junk', 'other_folder') AND m.organisation_id = $1 AND m.received_at >= $2

-- name: landed @postgres
-- The copies of some messages that lie in mailboxes, with what a decision for each looks at.
SELECT c.id, i.message_id, c.campaign_id, c.recipient, COALESCE(p.address, c.recipient) AS address,
  COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM mail_item i JOIN copy c ON c.id = i.copy_id LEFT JOIN person p ON p.id = c.person_id
WHERE i.message_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value)) ORDER BY c.id

-- name: landed
-- The copies of some messages that lie in mailboxes, with what a decision for each looks at.
SELECT c.id, i.message_id, c.campaign_id, c.recipient, COALESCE(p.address, c.recipient) AS address,
  COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM mail_item i JOIN copy c ON c.id = i.copy_id LEFT JOIN person p ON p.id = c.person_id
WHERE i.message_id IN (SELECT value FROM json_each($1)) ORDER BY c.id

-- name: junked
-- What a change moved to Junk and is there still: the snapshot of where it was stands in the event.
SELECT c.id AS copy_id, i.message_id, c.campaign_id, e.detail FROM event e JOIN copy c ON c.id = e.copy_id
JOIN mail_item i ON i.copy_id = c.id
WHERE e.cause_id = $1 AND e.kind = 'purged' AND e.place = 'junk' AND c.organisation_id = $2
  AND c.place = 'junk' AND c.last_event = 'purged' AND c.id > $3 ORDER BY c.id LIMIT $4

-- name: of_copy
SELECT id FROM quarantine_item WHERE organisation_id = $1 AND copy_id = $2 ORDER BY id DESC LIMIT 1

-- name: landed_elsewhere @postgres
-- The copies of some messages that the ledger has in mailboxes which another system keeps.
SELECT c.id, m.id AS message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  COALESCE(p.address, c.recipient) AS address, COALESCE(p.department, '') AS department, m.received_at, b.id AS mailbox_id,
  b.address AS mailbox_address, b.connector
FROM copy c JOIN message m ON m.id = c.received_message_id JOIN mailbox b ON b.person_id = c.person_id
LEFT JOIN person p ON p.id = c.person_id
WHERE c.received_message_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
  AND c.place IN ('inbox', 'junk', 'other_folder') AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.copy_id = c.id)
ORDER BY c.id

-- name: mailboxes_of @postgres
-- Which system keeps the mailboxes of some copies.
SELECT c.id AS copy_id, b.id AS mailbox_id, b.address, b.connector, c.place FROM copy c JOIN mailbox b ON b.person_id = c.person_id
WHERE c.id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value)) ORDER BY c.id

-- name: landed_elsewhere
-- The copies of some messages that the ledger has in mailboxes which another system keeps.
SELECT c.id, m.id AS message_id, c.campaign_id, c.recipient, c.place, c.place_detail, c.last_event,
  COALESCE(p.address, c.recipient) AS address, COALESCE(p.department, '') AS department, m.received_at, b.id AS mailbox_id,
  b.address AS mailbox_address, b.connector
FROM copy c JOIN message m ON m.id = c.received_message_id JOIN mailbox b ON b.person_id = c.person_id
LEFT JOIN person p ON p.id = c.person_id
WHERE c.received_message_id IN (SELECT value FROM json_each($1))
  AND c.place IN ('inbox', 'junk', 'other_folder') AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.copy_id = c.id)
ORDER BY c.id

-- name: mailboxes_of
-- Which system keeps the mailboxes of some copies.
SELECT c.id AS copy_id, b.id AS mailbox_id, b.address, b.connector, c.place FROM copy c JOIN mailbox b ON b.person_id = c.person_id
WHERE c.id IN (SELECT value FROM json_each($1)) ORDER BY c.id

-- name: junked_elsewhere
-- As junked, in mailboxes that another system keeps.
SELECT c.id AS copy_id, c.received_message_id AS message_id, c.campaign_id, e.detail, b.address AS mailbox_address, b.connector
FROM event e JOIN copy c ON c.id = e.copy_id JOIN mailbox b ON b.person_id = c.person_id
WHERE e.cause_id = $1 AND e.kind = 'purged' AND e.place = 'junk' AND c.organisation_id = $2
  AND c.place = 'junk' AND c.last_event = 'purged' AND c.id > $3
  AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.copy_id = c.id) ORDER BY c.id LIMIT $4

-- name: restore_waits
-- Whether an undo waits for the end of what the same cause pulls back.
SELECT id FROM job WHERE cause_id = $1 AND kind = 'restore' AND state IN ('waiting', 'running') LIMIT 1

-- name: elsewhere_next
-- Copies that the ledger has in mailboxes which another system keeps, a page in the order of ids, made since $4.
SELECT c.id, c.campaign_id, c.place_detail, b.id AS mailbox_id, b.address AS mailbox_address, b.connector
FROM copy c JOIN mailbox b ON b.person_id = c.person_id
WHERE c.organisation_id = $1 AND c.id > $2 AND c.created_at >= $4
  AND c.place IN ('inbox', 'junk', 'other_folder') AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.copy_id = c.id)
ORDER BY c.id LIMIT $3

-- name: elsewhere_of_copy
SELECT c.id, c.campaign_id, c.place_detail, b.id AS mailbox_id, b.address AS mailbox_address, b.connector
FROM copy c JOIN mailbox b ON b.person_id = c.person_id
WHERE c.organisation_id = $1 AND c.id = $2
  AND c.place IN ('inbox', 'junk', 'other_folder') AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.copy_id = c.id)
ORDER BY c.id LIMIT $3

-- name: seen_in @postgres
-- What was seen of some copies in mailboxes, the latest last: its detail names the mailbox system where another one has it.
SELECT copy_id, detail FROM event
WHERE copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
  AND place IN ('inbox', 'junk', 'other_folder') ORDER BY copy_id, effective_at, id

-- name: seen_in
-- What was seen of some copies in mailboxes, the latest last: its detail names the mailbox system where another one has it.
SELECT copy_id, detail FROM event WHERE copy_id IN (SELECT value FROM json_each($1))
  AND place IN ('inbox', 'junk', 'other_folder') ORDER BY copy_id, effective_at, id
