-- Hits: every fetch of a pixel or link, raw. A hit is scored together with all hits of its copy (same campaign and nonce).

-- name: insert
INSERT INTO hit (id, organisation_id, campaign_id, link_id, kind, copy_id, nonce, at, method, user_agent, client_hash,
  class, class_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: unsettled
-- Whose hits wait to be scored. Unsettled hits have no reason yet; the index is hit_by_class.
SELECT campaign_id, nonce FROM hit WHERE class = 'unknown' AND class_reason = ''
GROUP BY campaign_id, nonce ORDER BY MIN(at) LIMIT $1

-- name: unsettled_of
-- The plus sign keeps SQLite from reading all hits of the campaign: few of all are unsettled.
SELECT campaign_id, nonce FROM hit WHERE +campaign_id = $1 AND class = 'unknown' AND class_reason = ''
GROUP BY campaign_id, nonce ORDER BY nonce LIMIT $2

-- name: of_copy @postgres
-- Locked, so that two scorers of one copy come one after the other.
SELECT id, kind, link_id, at, method, user_agent, client_hash, class, class_reason FROM hit
WHERE campaign_id = $1 AND nonce = $2 ORDER BY at, id LIMIT $3 FOR UPDATE

-- name: of_copy
SELECT id, kind, link_id, at, method, user_agent, client_hash, class, class_reason FROM hit
WHERE campaign_id = $1 AND nonce = $2 ORDER BY at, id LIMIT $3

-- name: score
UPDATE hit SET class = $2, class_reason = $3 WHERE id = $1

-- name: score_excess
-- Past what is looked at together: only what came after the last hit that was.
UPDATE hit SET class = $4, class_reason = $5
WHERE campaign_id = $1 AND nonce = $2 AND class = 'unknown' AND class_reason = '' AND at >= $3

-- name: people
-- Copies that a person opened (a followed link is proof of that) and copies whose links a person followed.
SELECT COUNT(DISTINCT nonce) AS opened, COUNT(DISTINCT CASE WHEN kind = 'click' THEN nonce END) AS clicked
FROM hit WHERE campaign_id = $1 AND class = 'person'

-- name: machines
-- HEAD fetches nothing and is never counted.
SELECT COUNT(DISTINCT CASE WHEN kind = 'open' THEN nonce END) AS opened,
  COUNT(DISTINCT CASE WHEN kind = 'click' THEN nonce END) AS clicked
FROM hit WHERE campaign_id = $1 AND class = 'machine' AND method <> 'HEAD'

-- name: unsettled_count
SELECT COUNT(*) AS n FROM hit WHERE campaign_id = $1 AND class = 'unknown'

-- name: by_link
-- The hits are read once, not once for each link.
SELECT l.id, l.position, l.url, COALESCE(t.people, 0) AS people, COALESCE(t.machines, 0) AS machines
FROM link l LEFT JOIN (
  SELECT link_id, COUNT(DISTINCT CASE WHEN class = 'person' THEN nonce END) AS people,
    COUNT(DISTINCT CASE WHEN class = 'machine' AND method <> 'HEAD' THEN nonce END) AS machines
  FROM hit WHERE campaign_id = $1 AND kind = 'click' AND class IN ('person', 'machine') GROUP BY link_id
) t ON t.link_id = l.id
WHERE l.campaign_id = $1 ORDER BY l.position

-- name: by_department
-- Individual mode only: which groups opened and followed. Groups below the floor are left out by the caller's $2.
SELECT p.department, COUNT(DISTINCT r.copy_id) AS copies,
  COUNT(DISTINCT CASE WHEN h.class = 'person' THEN h.copy_id END) AS opened,
  COUNT(DISTINCT CASE WHEN h.class = 'person' AND h.kind = 'click' THEN h.copy_id END) AS clicked
FROM campaign_recipient r JOIN person p ON p.id = r.person_id
LEFT JOIN hit h ON h.campaign_id = r.campaign_id AND h.copy_id = r.copy_id
WHERE r.campaign_id = $1 AND r.copy_id IS NOT NULL
GROUP BY p.department HAVING COUNT(DISTINCT r.copy_id) >= $2 ORDER BY p.department
