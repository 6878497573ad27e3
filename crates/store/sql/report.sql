-- Reports that came back: what each said, of which copy, and what was made of it.

-- name: insert
INSERT INTO report (id, organisation_id, message_id, copy_id, campaign_id, matched_by, outcome, problem, kind, class,
  confidence, recipient, status, diagnostic, reporter, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)

-- name: insert_counted
-- A conflict here means that the same news of the same copy was counted before.
INSERT INTO report_counted (copy_id, news, report_id) VALUES ($1, $2, $3)

-- name: was_counted
SELECT report_id FROM report_counted WHERE copy_id = $1 AND news = $2

-- name: copy
-- A copy that a report may be about: one that we sent.
SELECT c.id, c.recipient, c.campaign_id, c.place, c.last_event, c.received_message_id
FROM copy c JOIN message m ON m.id = c.message_id
WHERE c.organisation_id = $1 AND c.id = $2 AND m.direction = 'outbound'

-- name: copy_of_message_id
-- A rendered message of a campaign has one copy. Its Message-ID holds 128 random bits and is only in that copy.
SELECT c.id, c.recipient, c.campaign_id, c.place, c.last_event, c.received_message_id
FROM message m JOIN copy c ON c.message_id = m.id
WHERE m.message_id_header = $1 AND m.organisation_id = $2 AND m.direction = 'outbound' AND m.campaign_id IS NOT NULL
ORDER BY c.id LIMIT 1

-- name: suppress
-- An address that is on the list keeps its first reason.
INSERT INTO suppression (organisation_id, address, reason, created_at, kind, copy_id) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (organisation_id, address) DO NOTHING

-- name: page
-- Newest first; '' for any outcome.
SELECT r.id, r.message_id, r.copy_id, r.campaign_id, r.matched_by, r.outcome, r.problem, r.kind, r.class, r.confidence,
  r.recipient, r.status, r.diagnostic, r.reporter, r.received_at
FROM report r WHERE r.organisation_id = $1 AND r.id < $2 AND (CAST($3 AS TEXT) = '' OR r.outcome = $3)
ORDER BY r.id DESC LIMIT $4

-- name: of_copy
SELECT r.id, r.message_id, r.copy_id, r.campaign_id, r.matched_by, r.outcome, r.problem, r.kind, r.class, r.confidence,
  r.recipient, r.status, r.diagnostic, r.reporter, r.received_at
FROM report r WHERE r.organisation_id = $1 AND r.copy_id = $2 ORDER BY r.id LIMIT $3

-- name: classes
-- What came back since $2, by kind, class and what was made of it.
SELECT r.kind, r.class, r.outcome, COUNT(*) AS n, MAX(r.received_at) AS last_at FROM report r
WHERE r.organisation_id = $1 AND r.received_at >= $2 GROUP BY r.kind, r.class, r.outcome ORDER BY COUNT(*) DESC, r.kind, r.class, r.outcome
LIMIT $3
