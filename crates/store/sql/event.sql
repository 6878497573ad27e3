-- Events: append-only. The order of a copy's life is (effective_at, id).

-- name: insert
INSERT INTO event (id, organisation_id, copy_id, kind, place, place_detail, observed_at, effective_at, source, cause_id, actor, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: of_copy
SELECT id, copy_id, kind, place, place_detail, observed_at, effective_at, source, cause_id, actor, detail
FROM event WHERE copy_id = $1 ORDER BY effective_at, id

-- name: of_campaign_page
-- The events of the next copies of a campaign, whole copies only, in the order of the fold.
SELECT e.copy_id, e.kind, e.place, e.effective_at FROM event e
WHERE e.copy_id IN (SELECT c.id FROM copy c WHERE c.campaign_id = $1 AND c.organisation_id = $2 AND c.id > $3 ORDER BY c.id LIMIT $4)
ORDER BY e.copy_id, e.effective_at, e.id

-- name: proof
-- How often each of these happened to copies of campaigns, and to how many copies.
SELECT e.kind, COUNT(DISTINCT e.copy_id) AS copy_count, COUNT(*) AS event_count
FROM event e JOIN copy c ON c.id = e.copy_id
WHERE c.organisation_id = $1 AND c.campaign_id IS NOT NULL
  AND e.kind IN ('held', 'purged', 'released', 'restored', 'redelivered', 'resend_suppressed', 'may_be_double')
GROUP BY e.kind ORDER BY e.kind
