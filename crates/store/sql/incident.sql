-- Incidents: one per cause, the copies in its scope, its dated updates.

-- name: insert
-- A second detector that saw the same cause at the same time inserts nothing.
INSERT INTO incident (id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count,
  opened_at, resolved_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (organisation_id, cause_kind, cause_id) DO NOTHING

-- name: by_id
SELECT id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count, opened_at,
  resolved_at, updated_at
FROM incident WHERE id = $1 AND organisation_id = $2

-- name: lock @postgres
-- Two detectors, or a detector and a person, take turns.
SELECT id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count, opened_at,
  resolved_at, updated_at
FROM incident WHERE id = $1 FOR UPDATE

-- name: lock
SELECT id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count, opened_at,
  resolved_at, updated_at
FROM incident WHERE id = $1

-- name: by_cause
SELECT id FROM incident WHERE organisation_id = $1 AND cause_kind = $2 AND cause_id = $3

-- name: page
-- Newest first; empty status is no filter; `open` of the console is everything but resolved.
SELECT id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count, opened_at,
  resolved_at, updated_at
FROM incident WHERE organisation_id = $1 AND id < $2
  AND (CAST($3 AS TEXT) = '' OR status = CAST($3 AS TEXT) OR (CAST($3 AS TEXT) = 'unresolved' AND status <> 'resolved'))
ORDER BY id DESC LIMIT $4

-- name: of_campaign
SELECT id, organisation_id, cause_kind, cause_id, title, status, cause, progress, impact_count, peak_count, opened_at,
  resolved_at, updated_at
FROM incident WHERE organisation_id = $1
  AND id IN (SELECT DISTINCT incident_id FROM incident_copy WHERE campaign_id = $2)
ORDER BY id DESC LIMIT $3

-- name: unresolved
SELECT id FROM incident WHERE organisation_id = $1 AND status <> 'resolved' ORDER BY id LIMIT $2

-- name: set_state
UPDATE incident SET status = $1, cause = $2, progress = $3, impact_count = $4, peak_count = $5, resolved_at = $6,
  updated_at = $7
WHERE id = $8

-- name: insert_copy
-- added_at: when its present loss was taken in. A copy that is lost again is taken in again.
INSERT INTO incident_copy (incident_id, copy_id, campaign_id, added_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (incident_id, copy_id) DO UPDATE SET added_at = excluded.added_at

-- name: taken_in @postgres
-- Of some copies those that are in scope, and since when.
SELECT copy_id, added_at FROM incident_copy
WHERE incident_id = $1 AND copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: taken_in
SELECT copy_id, added_at FROM incident_copy WHERE incident_id = $1 AND copy_id IN (SELECT value FROM json_each($2))

-- name: insert_update
INSERT INTO incident_update (id, incident_id, at, author, status, text) VALUES ($1, $2, $3, $4, $5, $6)

-- name: updates
SELECT id, at, author, status, text FROM incident_update WHERE incident_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3

-- name: refused_page
-- Copies of campaigns that other hosts refused, or that came back, and that are in no incident since. What the detail says of
-- the class decides whether the cause is shared; an address that is gone is nobody else's incident.
SELECT c.id AS copy_id, c.campaign_id, c.place_at, c.recipient, e.kind, e.detail
FROM copy c
JOIN event e ON e.id = (SELECT x.id FROM event x WHERE x.copy_id = c.id AND x.kind = c.last_event
  ORDER BY x.effective_at DESC, x.id DESC LIMIT 1)
WHERE c.organisation_id = $1 AND c.place = 'not_received' AND c.id > $2 AND c.campaign_id IS NOT NULL
  AND c.last_event IN ('rejected', 'bounced') AND c.received_message_id IS NULL AND c.place_at >= $3
  AND NOT EXISTS (SELECT 1 FROM incident_copy i WHERE i.copy_id = c.id AND i.added_at >= c.place_at)
ORDER BY c.id LIMIT $4

-- name: lost_page
-- Copies of campaigns that were accepted and are not in a mailbox, by our own doing, and were taken into no incident since they
-- were lost: one that came back and is lost again counts again. What a person has decided (a denied release) is no loss.
SELECT c.id AS copy_id, c.campaign_id, c.place_at, e.kind, e.cause_id, COALESCE(q.reason, '') AS reason,
  COALESCE(q.policy_name, c.policy, '') AS policy_name, COALESCE(q.explanation, '') AS explanation
FROM copy c
JOIN event e ON e.id = (SELECT x.id FROM event x WHERE x.copy_id = c.id
  AND (x.kind IN ('held', 'purged', 'dropped') OR (x.kind = 'rejected' AND c.disposition = 'reject'))
  ORDER BY x.effective_at DESC, x.id DESC LIMIT 1)
LEFT JOIN quarantine_item q ON q.id = (SELECT MAX(y.id) FROM quarantine_item y WHERE y.copy_id = c.id)
WHERE c.organisation_id = $1 AND c.place = $2 AND c.id > $3 AND c.campaign_id IS NOT NULL
  AND c.last_event NOT IN ('denied', 'expired')
  AND NOT EXISTS (SELECT 1 FROM incident_copy i WHERE i.copy_id = c.id AND i.added_at >= c.place_at)
ORDER BY c.id LIMIT $4

-- name: scope
-- The copies in scope, by campaign and by where they are now.
SELECT i.campaign_id, COALESCE(g.name, '') AS campaign_name, COALESCE(g.from_address, '') AS from_address, c.place,
  c.last_event, COUNT(*) AS copy_count
FROM incident_copy i JOIN copy c ON c.id = i.copy_id LEFT JOIN campaign g ON g.id = i.campaign_id
WHERE i.incident_id = $1
GROUP BY i.campaign_id, g.name, g.from_address, c.place, c.last_event ORDER BY i.campaign_id, c.place, c.last_event

-- name: actors
-- Who freed or put back copies in scope.
SELECT DISTINCT e.kind, e.actor FROM incident_copy i JOIN event e ON e.copy_id = i.copy_id
WHERE i.incident_id = $1 AND e.kind IN ('released', 'restored', 'redelivered') AND e.actor <> '' ORDER BY e.kind, e.actor LIMIT $2

-- name: first_signal @postgres
-- The deciding signal of a copy in scope that was held on arrival: the rule, the entry and the URL behind a loss.
SELECT CAST(m.verdict AS JSON) #>> '{signals,0}' AS signal
FROM incident_copy i JOIN copy c ON c.id = i.copy_id JOIN message m ON m.id = c.received_message_id
WHERE i.incident_id = $1 AND c.disposition IN ('quarantine', 'reject', 'drop')
  AND CAST(m.verdict AS JSON) #>> '{signals,0}' IS NOT NULL ORDER BY i.copy_id LIMIT 1

-- name: first_signal
SELECT json_extract(m.verdict, '$.signals[0]') AS signal
FROM incident_copy i JOIN copy c ON c.id = i.copy_id JOIN message m ON m.id = c.received_message_id
WHERE i.incident_id = $1 AND c.disposition IN ('quarantine', 'reject', 'drop')
  AND json_extract(m.verdict, '$.signals[0]') IS NOT NULL ORDER BY i.copy_id LIMIT 1

-- name: first_loss
-- The first event that took a copy in scope away, with its raw detail.
SELECT e.kind, e.detail, e.effective_at, e.actor FROM incident_copy i JOIN event e ON e.copy_id = i.copy_id
WHERE i.incident_id = $1 AND e.kind IN ('held', 'purged', 'dropped', 'rejected') ORDER BY e.effective_at, e.id LIMIT 1

-- name: contrast
-- What lost copies share and landed ones do not. A loss is a copy in scope, whether it is back by now or not.
SELECT COALESCE(g.name, '') AS campaign, COALESCE(c.policy, '') AS policy, COALESCE(m.verdict_class, '') AS class,
  CASE WHEN i.copy_id IS NULL THEN 0 ELSE 1 END AS lost, COUNT(*) AS copy_count
FROM copy c LEFT JOIN incident_copy i ON i.copy_id = c.id AND i.incident_id = $1
LEFT JOIN message m ON m.id = c.received_message_id LEFT JOIN campaign g ON g.id = c.campaign_id
WHERE c.organisation_id = $2 AND c.campaign_id IS NOT NULL AND c.created_at >= $3
  AND (i.copy_id IS NOT NULL OR c.place IN ('inbox', 'other_folder'))
GROUP BY 1, 2, 3, 4

-- name: contrast_rule @postgres
SELECT COALESCE(CAST(m.verdict AS JSON) #>> '{signals,0,rule}', '') AS rule, COALESCE(CAST(m.verdict AS JSON) #>> '{signals,0,origin}', '') AS origin,
  CASE WHEN i.copy_id IS NULL THEN 0 ELSE 1 END AS lost, COUNT(*) AS copy_count
FROM copy c LEFT JOIN incident_copy i ON i.copy_id = c.id AND i.incident_id = $1
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.organisation_id = $2 AND c.campaign_id IS NOT NULL AND c.created_at >= $3
  AND (i.copy_id IS NOT NULL OR c.place IN ('inbox', 'other_folder'))
GROUP BY 1, 2, 3

-- name: contrast_rule
SELECT COALESCE(json_extract(m.verdict, '$.signals[0].rule'), '') AS rule, COALESCE(json_extract(m.verdict, '$.signals[0].origin'), '') AS origin,
  CASE WHEN i.copy_id IS NULL THEN 0 ELSE 1 END AS lost, COUNT(*) AS copy_count
FROM copy c LEFT JOIN incident_copy i ON i.copy_id = c.id AND i.incident_id = $1
LEFT JOIN message m ON m.id = c.received_message_id
WHERE c.organisation_id = $2 AND c.campaign_id IS NOT NULL AND c.created_at >= $3
  AND (i.copy_id IS NOT NULL OR c.place IN ('inbox', 'other_folder'))
GROUP BY 1, 2, 3

-- name: contrast_term
-- How many lost and landed copies carry one indexed term (the host that a feed entry names).
SELECT CASE WHEN i.copy_id IS NULL THEN 0 ELSE 1 END AS lost, COUNT(*) AS copy_count
FROM message_term t JOIN copy c ON c.received_message_id = t.message_id
LEFT JOIN incident_copy i ON i.copy_id = c.id AND i.incident_id = $1
WHERE t.kind = $4 AND t.value = $5 AND c.organisation_id = $2 AND c.campaign_id IS NOT NULL AND c.created_at >= $3
  AND (i.copy_id IS NOT NULL OR c.place IN ('inbox', 'other_folder'))
GROUP BY 1

-- name: held_on_arrival
-- What a release of each campaign in scope would free.
SELECT q.campaign_id, COUNT(*) AS copy_count FROM incident_copy i JOIN quarantine_item q ON q.copy_id = i.copy_id
WHERE i.incident_id = $1 AND q.held_by = 'arrival' AND q.status IN ('needs_review', 'requested', 'denied')
GROUP BY q.campaign_id ORDER BY q.campaign_id

-- name: pulled_back
-- What an undo of the cause would put back.
SELECT COUNT(*) AS copy_count FROM quarantine_item WHERE cause_id = $1 AND held_by = 'purge' AND status IN ('needs_review', 'requested', 'denied')

-- name: allows_since
-- Changes of the allow/block list in force since an instant: candidates for a remedy.
SELECT id, title, diff, activated_by, activated_at FROM change
WHERE organisation_id = $1 AND kind = 'list' AND state = 'active' AND activated_at >= $2 ORDER BY id LIMIT $3

-- name: campaign_names
-- The last campaigns, for the search box: bounded, compared in one place rather than by each database's rules.
SELECT id, name, state, created_at FROM campaign WHERE organisation_id = $1 ORDER BY id DESC LIMIT $2

-- name: campaign_head
SELECT id, name, state, from_address, audience_count, suppressed_count, send_started_at, sent_at
FROM campaign WHERE id = $1 AND organisation_id = $2

-- name: people_like @postgres
-- People by the beginning of an address or any part of a name; the text is lower case.
SELECT id, address, name FROM person WHERE organisation_id = $1
  AND (strpos(address, CAST($2 AS TEXT)) = 1 OR strpos(name_lower, CAST($2 AS TEXT)) > 0) ORDER BY address LIMIT $3

-- name: people_like
SELECT id, address, name FROM person WHERE organisation_id = $1
  AND (instr(address, $2) = 1 OR instr(name_lower, $2) > 0) ORDER BY address LIMIT $3

-- name: messages_with_host
-- Messages that link to a host: how many copies of them there are, counted up to a bound.
SELECT COUNT(*) AS copy_count FROM (
  SELECT c.id FROM message_term t JOIN copy c ON c.received_message_id = t.message_id
  WHERE t.kind = 'url_host' AND t.value = $1 AND c.organisation_id = $2 LIMIT $3) AS found
