-- Copies: one message for one recipient, the unit of everything. place and last_event equal the fold of its events.

-- name: insert
-- A copy with the state that its first event gives; no late evidence can be older than evidence_at.
INSERT INTO copy (id, organisation_id, message_id, received_message_id, campaign_id, person_id, recipient, place,
  place_detail, last_event, last_event_at, place_at, evidence_at, disposition, policy, decision, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)

-- name: lock @postgres
SELECT id, place, place_detail, last_event, last_event_at, place_at, evidence_at FROM copy WHERE id = $1 FOR UPDATE

-- name: lock
-- SQLite has one writer: being in a transaction is the lock.
SELECT id, place, place_detail, last_event, last_event_at, place_at, evidence_at FROM copy WHERE id = $1

-- name: lock_many @postgres
-- Locked in the order of ids, so that two transactions never wait for each other.
SELECT id, place, place_detail, last_event, last_event_at, place_at, evidence_at FROM copy
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_many
SELECT id, place, place_detail, last_event, last_event_at, place_at, evidence_at FROM copy
WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id

-- name: set_whereabouts_of @postgres
-- $1: rows of [id, place, place_detail, last_event, last_event_at, place_at, evidence_at].
UPDATE copy SET place = t.v ->> 1, place_detail = t.v ->> 2, last_event = t.v ->> 3,
  last_event_at = CAST(t.v ->> 4 AS BIGINT), place_at = CAST(t.v ->> 5 AS BIGINT), evidence_at = CAST(t.v ->> 6 AS BIGINT)
FROM json_array_elements(CAST($1 AS JSON)) AS t(v) WHERE copy.id = CAST(t.v ->> 0 AS BIGINT)

-- name: set_whereabouts_of
-- $1: rows of [id, place, place_detail, last_event, last_event_at, place_at, evidence_at].
UPDATE copy SET place = t.value ->> 1, place_detail = t.value ->> 2, last_event = t.value ->> 3,
  last_event_at = t.value ->> 4, place_at = t.value ->> 5, evidence_at = t.value ->> 6
FROM json_each($1) AS t WHERE copy.id = t.value ->> 0

-- name: by_id
SELECT id, organisation_id, message_id, received_message_id, campaign_id, person_id, recipient, place, place_detail,
  last_event, last_event_at, place_at, evidence_at, disposition, policy, decision, created_at
FROM copy WHERE id = $1

-- name: count_of_campaign
-- Where a campaign's copies are, with the age of the evidence.
SELECT place, last_event, COUNT(*) AS copy_count, MIN(last_event_at) AS oldest_at, MAX(last_event_at) AS newest_at,
  MIN(place_at) AS since_at
FROM copy WHERE campaign_id = $1 AND organisation_id = $2 GROUP BY place, last_event ORDER BY place, last_event

-- name: count_of_organisation
-- Places and last events over all campaigns' copies.
SELECT place, last_event, COUNT(*) AS copy_count
FROM copy WHERE organisation_id = $1 AND campaign_id IS NOT NULL GROUP BY place, last_event ORDER BY place, last_event

-- name: page_of_campaign @postgres
-- Empty text is no filter. The text is lower case and compared with lower-case columns.
SELECT c.id, c.campaign_id, c.recipient, c.person_id, COALESCE(p.name, '') AS person_name, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.place_at, c.disposition, c.policy
FROM copy c LEFT JOIN person p ON p.id = c.person_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.id > $3
  AND (CAST($4 AS TEXT) = '' OR c.place = CAST($4 AS TEXT)) AND (CAST($5 AS TEXT) = '' OR c.last_event = CAST($5 AS TEXT))
  AND (CAST($6 AS TEXT) = '' OR strpos(c.recipient, CAST($6 AS TEXT)) > 0 OR strpos(p.name_lower, CAST($6 AS TEXT)) > 0)
ORDER BY c.id LIMIT $7

-- name: page_of_campaign
SELECT c.id, c.campaign_id, c.recipient, c.person_id, COALESCE(p.name, '') AS person_name, c.place, c.place_detail, c.last_event,
  c.last_event_at, c.place_at, c.disposition, c.policy
FROM copy c LEFT JOIN person p ON p.id = c.person_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.id > $3
  AND ($4 = '' OR c.place = $4) AND ($5 = '' OR c.last_event = $5)
  AND ($6 = '' OR instr(c.recipient, $6) > 0 OR instr(p.name_lower, $6) > 0)
ORDER BY c.id LIMIT $7

-- name: sent_twice
-- Copies that landed twice with nothing that took them out in between, or that are in mailboxes twice.
-- A redelivery moves what is there (from Junk, say), so it is no second sending by itself.
WITH step AS (
  SELECT e.copy_id, e.effective_at, e.id, e.kind, CASE WHEN e.kind IN ('held', 'purged') THEN 0 ELSE 1 END AS landing
  FROM event e JOIN copy c ON c.id = e.copy_id
  WHERE c.organisation_id = $1 AND c.campaign_id IS NOT NULL
    AND (e.kind IN ('held', 'purged', 'released', 'restored', 'redelivered')
      OR (e.kind = 'accepted' AND e.place IN ('inbox', 'junk', 'other_folder')))
), in_order AS (
  SELECT copy_id, kind, landing, LAG(landing) OVER (PARTITION BY copy_id ORDER BY effective_at, id) AS landing_before FROM step
)
SELECT COUNT(*) AS copy_count FROM (
  SELECT copy_id FROM in_order WHERE landing = 1 AND landing_before = 1 AND kind <> 'redelivered'
  UNION
  SELECT i.copy_id FROM mail_item i JOIN copy c ON c.id = i.copy_id
  WHERE c.organisation_id = $1 AND c.campaign_id IS NOT NULL GROUP BY i.copy_id HAVING COUNT(*) > 1
) AS twice

-- name: held_reasons_of_campaign @postgres
-- Why copies of a campaign are held: the deciding signal of the verdict they arrived with, or what pulled them back.
SELECT q.held_by, q.reason, q.policy_name, q.explanation, q.cause_id, COALESCE(CAST(m.verdict AS JSON) #>> '{signals,0,rule}', '') AS rule,
  COALESCE(CAST(m.verdict AS JSON) #>> '{signals,0,origin}', '') AS origin,
  MIN(COALESCE(CAST(m.verdict AS JSON) #>> '{signals,0,evidence}', '')) AS evidence,
  COUNT(*) AS copy_count, MIN(c.place_at) AS since_at
FROM copy c JOIN quarantine_item q ON q.id = (SELECT MAX(y.id) FROM quarantine_item y WHERE y.copy_id = c.id)
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.place = 'quarantine'
GROUP BY q.held_by, q.reason, q.policy_name, q.explanation, q.cause_id, 6, 7 ORDER BY copy_count DESC LIMIT $3

-- name: held_reasons_of_campaign
SELECT q.held_by, q.reason, q.policy_name, q.explanation, q.cause_id, COALESCE(json_extract(m.verdict, '$.signals[0].rule'), '') AS rule,
  COALESCE(json_extract(m.verdict, '$.signals[0].origin'), '') AS origin,
  MIN(COALESCE(json_extract(m.verdict, '$.signals[0].evidence'), '')) AS evidence,
  COUNT(*) AS copy_count, MIN(c.place_at) AS since_at
FROM copy c JOIN quarantine_item q ON q.id = (SELECT MAX(y.id) FROM quarantine_item y WHERE y.copy_id = c.id)
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.place = 'quarantine'
GROUP BY q.held_by, q.reason, q.policy_name, q.explanation, q.cause_id, 6, 7 ORDER BY copy_count DESC LIMIT $3

-- name: other_reasons_of_campaign @postgres
-- Why copies are in Junk, did not arrive or still wait: the event that says so, its reply and the deciding signal of the verdict
-- that it arrived with, or that moved it to Junk afterwards.
SELECT c.place, e.kind, e.cause_id, COALESCE(CAST(e.detail AS JSON) ->> 'reply', '') AS reply, COALESCE(c.policy, '') AS policy,
  COALESCE(CASE e.kind WHEN 'purged' THEN CAST(e.detail AS JSON) ->> 'sentence'
    ELSE CAST(m.verdict AS JSON) #>> '{signals,0,sentence}' END, '') AS sentence,
  COALESCE(CASE e.kind WHEN 'purged' THEN CAST(e.detail AS JSON) ->> 'rule'
    ELSE CAST(m.verdict AS JSON) #>> '{signals,0,rule}' END, '') AS rule,
  COALESCE(CASE e.kind WHEN 'purged' THEN CAST(e.detail AS JSON) ->> 'origin'
    ELSE CAST(m.verdict AS JSON) #>> '{signals,0,origin}' END, '') AS origin,
  COALESCE(CAST(e.detail AS JSON) ->> 'reason', '') AS why, COUNT(*) AS copy_count, MIN(c.place_at) AS since_at
FROM copy c JOIN event e ON e.id = (
  SELECT x.id FROM event x WHERE x.copy_id = c.id AND x.kind = c.last_event ORDER BY x.effective_at DESC, x.id DESC LIMIT 1)
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.place IN ('junk', 'not_received', 'on_its_way', 'unknown')
GROUP BY c.place, e.kind, e.cause_id, 4, 5, 6, 7, 8, 9 ORDER BY copy_count DESC LIMIT $3

-- name: other_reasons_of_campaign
SELECT c.place, e.kind, e.cause_id, COALESCE(json_extract(e.detail, '$.reply'), '') AS reply, COALESCE(c.policy, '') AS policy,
  COALESCE(CASE e.kind WHEN 'purged' THEN json_extract(e.detail, '$.sentence')
    ELSE json_extract(m.verdict, '$.signals[0].sentence') END, '') AS sentence,
  COALESCE(CASE e.kind WHEN 'purged' THEN json_extract(e.detail, '$.rule')
    ELSE json_extract(m.verdict, '$.signals[0].rule') END, '') AS rule,
  COALESCE(CASE e.kind WHEN 'purged' THEN json_extract(e.detail, '$.origin')
    ELSE json_extract(m.verdict, '$.signals[0].origin') END, '') AS origin,
  COALESCE(json_extract(e.detail, '$.reason'), '') AS why, COUNT(*) AS copy_count, MIN(c.place_at) AS since_at
FROM copy c JOIN event e ON e.id = (
  SELECT x.id FROM event x WHERE x.copy_id = c.id AND x.kind = c.last_event ORDER BY x.effective_at DESC, x.id DESC LIMIT 1)
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.place IN ('junk', 'not_received', 'on_its_way', 'unknown')
GROUP BY c.place, e.kind, e.cause_id, 4, 5, 6, 7, 8, 9 ORDER BY copy_count DESC LIMIT $3

-- name: count_handed_over
-- Copies of a campaign that a host has answered 250 for, whatever became of them afterwards.
SELECT COUNT(*) AS copy_count FROM copy c WHERE c.campaign_id = $1 AND c.organisation_id = $2
  AND EXISTS (SELECT 1 FROM event e WHERE e.copy_id = c.id AND e.kind IN ('accepted', 'held', 'dropped'))

-- name: of_message_id_header
-- Copies of messages with this Message-ID, rendered or received. Two halves and a plus sign, so that
-- SQLite finds each by its index and does not read all copies of the organisation.
SELECT c.id, c.recipient, c.campaign_id, c.place, m.subject, m.received_at
FROM message m JOIN copy c ON c.received_message_id = m.id
WHERE m.message_id_header = $1 AND +c.organisation_id = $2
UNION
SELECT c.id, c.recipient, c.campaign_id, c.place, m.subject, m.received_at
FROM message m JOIN copy c ON c.message_id = m.id
WHERE m.message_id_header = $1 AND +c.organisation_id = $2
ORDER BY 1 LIMIT $3

-- name: ids
SELECT id FROM copy WHERE id > $1 ORDER BY id LIMIT $2

-- name: of_person
SELECT id FROM copy WHERE id = $1 AND person_id = $2
