-- Campaigns, their frozen audience, their links, and who takes which recipient.

-- name: insert
INSERT INTO campaign (id, organisation_id, name, subject, from_name, from_address, content_type, content, list_id, state,
  tracking, click_tracking, created_by, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: update
-- Only a draft can be changed.
UPDATE campaign SET name = $3, subject = $4, from_name = $5, from_address = $6, content_type = $7, content = $8,
  list_id = $9, tracking = $10, click_tracking = $11, updated_at = $12
WHERE organisation_id = $1 AND id = $2 AND state = 'draft'

-- name: by_id
SELECT id, organisation_id, name, subject, from_name, from_address, content_type, content, list_id, state, tracking,
  click_tracking, audience_count, suppressed_count, created_by, created_at, updated_at, send_started_at, sent_at
FROM campaign WHERE organisation_id = $1 AND id = $2

-- name: page
-- Newest first. The content stays out: a page of campaigns is a list of names.
SELECT id, organisation_id, name, subject, from_name, from_address, content_type, '' AS content, list_id, state, tracking,
  click_tracking, audience_count, suppressed_count, created_by, created_at, updated_at, send_started_at, sent_at
FROM campaign WHERE organisation_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3

-- name: list_exists
SELECT id FROM list WHERE organisation_id = $1 AND id = $2

-- name: attribute_names @postgres
-- The further merge fields that people of this organisation have.
SELECT DISTINCT k.name FROM person p, json_object_keys(CAST(p.attributes AS JSON)) AS k(name)
WHERE p.organisation_id = $1 ORDER BY k.name LIMIT $2

-- name: attribute_names
SELECT DISTINCT j.key AS name FROM person p, json_each(p.attributes) j
WHERE p.organisation_id = $1 ORDER BY j.key LIMIT $2

-- name: audience_page
-- The people of a list who may get it, in the order of the frozen audience.
SELECT p.id, p.address, p.name, p.department, p.city, p.language, p.attributes
FROM list_member m JOIN person p ON p.id = m.person_id
LEFT JOIN suppression s ON s.organisation_id = p.organisation_id AND s.address = p.address
WHERE m.list_id = $1 AND p.organisation_id = $2 AND m.person_id > $3 AND s.address IS NULL
ORDER BY m.person_id LIMIT $4

-- name: freeze @postgres
-- The whole audience in one statement: nobody who joins later is in it, nobody is in it twice.
INSERT INTO campaign_recipient (campaign_id, position, person_id, address, fields, state)
SELECT CAST($1 AS BIGINT), ROW_NUMBER() OVER (ORDER BY p.id), p.id, p.address,
  CAST(json_build_object('name', p.name, 'address', p.address, 'department', p.department, 'city', p.city,
    'language', p.language, 'attributes', CAST(p.attributes AS JSON)) AS TEXT),
  CASE WHEN s.address IS NULL THEN 'pending' ELSE 'suppressed' END
FROM list_member m JOIN person p ON p.id = m.person_id
LEFT JOIN suppression s ON s.organisation_id = p.organisation_id AND s.address = p.address
WHERE m.list_id = $2 AND p.organisation_id = $3

-- name: freeze
INSERT INTO campaign_recipient (campaign_id, position, person_id, address, fields, state)
SELECT $1, ROW_NUMBER() OVER (ORDER BY p.id), p.id, p.address,
  json_object('name', p.name, 'address', p.address, 'department', p.department, 'city', p.city,
    'language', p.language, 'attributes', json(p.attributes)),
  CASE WHEN s.address IS NULL THEN 'pending' ELSE 'suppressed' END
FROM list_member m JOIN person p ON p.id = m.person_id
LEFT JOIN suppression s ON s.organisation_id = p.organisation_id AND s.address = p.address
WHERE m.list_id = $2 AND p.organisation_id = $3

-- name: set_started
-- $4: the version whose audience was checked; a later edit makes this touch nothing.
UPDATE campaign SET state = 'sending', send_started_at = $3, updated_at = $3,
  audience_count = (SELECT COUNT(*) FROM campaign_recipient r WHERE r.campaign_id = $2 AND r.state = 'pending'),
  suppressed_count = (SELECT COUNT(*) FROM campaign_recipient r WHERE r.campaign_id = $2 AND r.state = 'suppressed')
WHERE organisation_id = $1 AND id = $2 AND state = 'draft' AND updated_at = $4

-- name: move
-- From the state that was seen to the one that State::advance gave. Whoever held the dispatch lease loses it.
UPDATE campaign SET state = $3, updated_at = $4, dispatch_owner = '', dispatch_lease_until = 0
WHERE organisation_id = $1 AND id = $2 AND state = $5

-- name: recipient_counts
SELECT state, COUNT(*) AS n FROM campaign_recipient WHERE campaign_id = $1 GROUP BY state

-- name: insert_link
INSERT INTO link (id, campaign_id, position, url) VALUES ($1, $2, $3, $4)

-- name: links
SELECT id, position, url FROM link WHERE campaign_id = $1 ORDER BY position

-- name: claimable
-- Whether a claim may find something: read first, so that an idle dispatcher takes no write transaction.
SELECT c.id FROM campaign c WHERE c.organisation_id = $1 AND c.state = 'sending'
  AND EXISTS (SELECT 1 FROM campaign_recipient r WHERE r.campaign_id = c.id AND r.state = 'pending') LIMIT 1

-- name: claim @postgres
-- One sending campaign with people still to come, whose lease is free. $1 owner, $2 lease_until, $3 now, $4 organisation.
UPDATE campaign SET dispatch_owner = $1, dispatch_lease_until = $2
WHERE id = (
  SELECT c.id FROM campaign c WHERE c.organisation_id = $4 AND c.state = 'sending'
    AND (c.dispatch_owner = $1 OR c.dispatch_lease_until < $3)
    AND EXISTS (SELECT 1 FROM campaign_recipient r WHERE r.campaign_id = c.id AND r.state = 'pending')
  ORDER BY c.id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id

-- name: claim
UPDATE campaign SET dispatch_owner = $1, dispatch_lease_until = $2
WHERE id = (
  SELECT c.id FROM campaign c WHERE c.organisation_id = $4 AND c.state = 'sending'
    AND (c.dispatch_owner = $1 OR c.dispatch_lease_until < $3)
    AND EXISTS (SELECT 1 FROM campaign_recipient r WHERE r.campaign_id = c.id AND r.state = 'pending')
  ORDER BY c.id LIMIT 1)
RETURNING id

-- name: hold_lease
-- Guards every batch: it locks the campaign's row to the end of the transaction, so that a pause comes wholly before
-- the batch (which then stores nothing) or wholly after it (and finds its deliveries).
UPDATE campaign SET dispatch_lease_until = $1 WHERE id = $2 AND state = 'sending' AND dispatch_owner = $3

-- name: pending
SELECT r.position, r.person_id, r.address, r.fields, CASE WHEN s.address IS NULL THEN 0 ELSE 1 END AS suppressed
FROM campaign_recipient r
LEFT JOIN suppression s ON s.organisation_id = $4 AND s.address = r.address
WHERE r.campaign_id = $1 AND r.state = 'pending' AND r.position > $2
ORDER BY r.position LIMIT $3

-- name: enqueue_recipient @postgres
-- $1: rows of [campaign id, position, copy id].
UPDATE campaign_recipient SET state = 'enqueued', copy_id = CAST(t.v ->> 2 AS BIGINT)
FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE campaign_id = CAST(t.v ->> 0 AS BIGINT) AND position = CAST(t.v ->> 1 AS BIGINT) AND state = 'pending'

-- name: enqueue_recipient
-- For each row of [campaign id, position, copy id].
UPDATE campaign_recipient SET state = 'enqueued', copy_id = $3
WHERE campaign_id = $1 AND position = $2 AND state = 'pending'

-- name: suppress_recipient @postgres
-- Unsubscribed between the start and now. $1: rows of [campaign id, position].
UPDATE campaign_recipient SET state = 'suppressed' FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
WHERE campaign_id = CAST(t.v ->> 0 AS BIGINT) AND position = CAST(t.v ->> 1 AS BIGINT) AND state = 'pending'

-- name: suppress_recipient
-- Unsubscribed between the start and now. For each row of [campaign id, position].
UPDATE campaign_recipient SET state = 'suppressed' WHERE campaign_id = $1 AND position = $2 AND state = 'pending'

-- name: count_suppressed
UPDATE campaign SET suppressed_count = suppressed_count + $2, audience_count = audience_count - $2 WHERE id = $1

-- name: finishable
-- Sending campaigns with nobody left to take and no delivery left to make.
SELECT c.id FROM campaign c WHERE c.organisation_id = $1 AND c.state = 'sending'
  AND NOT EXISTS (SELECT 1 FROM campaign_recipient r WHERE r.campaign_id = c.id AND r.state = 'pending')
  AND NOT EXISTS (SELECT 1 FROM delivery d WHERE d.campaign_id = c.id AND d.state IN ('due', 'leased', 'held'))
ORDER BY c.id LIMIT 100

-- name: set_sent
UPDATE campaign SET state = 'sent', sent_at = $3, updated_at = $3, dispatch_owner = '', dispatch_lease_until = 0
WHERE organisation_id = $1 AND id = $2 AND state = 'sending'

-- name: cancelled_with_rest
-- Cancelled campaigns that still have people or deliveries waiting.
SELECT c.id FROM campaign c WHERE c.organisation_id = $1 AND c.state = 'cancelled'
  AND (EXISTS (SELECT 1 FROM campaign_recipient r WHERE r.campaign_id = c.id AND r.state = 'pending')
    OR EXISTS (SELECT 1 FROM delivery d WHERE d.campaign_id = c.id AND d.state = 'held' AND d.lease_owner = ''))
ORDER BY c.id LIMIT 100

-- name: cancel_recipients
UPDATE campaign_recipient SET state = 'cancelled' WHERE campaign_id = $1 AND state = 'pending'

-- name: cancel_deliveries
-- A batch of what had not left. A delivery whose attempt is under way is left to its end.
UPDATE delivery SET state = 'failed', last_reply = $2
WHERE id IN (SELECT id FROM delivery WHERE campaign_id = $1 AND state = 'held' AND lease_owner = '' ORDER BY id LIMIT $3)
  AND state = 'held' AND lease_owner = ''
RETURNING copy_id

-- name: suppress
INSERT INTO suppression (organisation_id, address, reason, created_at, kind) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (organisation_id, address) DO NOTHING

-- name: unsuppress
DELETE FROM suppression WHERE organisation_id = $1 AND address = $2

-- name: suppressions
SELECT address, reason, created_at, kind FROM suppression WHERE organisation_id = $1 AND address > $2 ORDER BY address LIMIT $3

-- name: recipients
-- The frozen audience, with who was left out.
SELECT position, person_id, address, state, copy_id FROM campaign_recipient
WHERE campaign_id = $1 AND position > $2 ORDER BY position LIMIT $3
