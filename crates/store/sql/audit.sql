-- The audit log: append-only.

-- name: insert
INSERT INTO audit (id, organisation_id, account_id, at, action, target, reason, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: page
SELECT a.id, a.at, a.action, a.target, a.reason, a.detail, c.login
FROM audit a LEFT JOIN account c ON c.id = a.account_id
WHERE a.organisation_id = $1 AND a.id < $2 ORDER BY a.id DESC LIMIT $3

-- name: same
SELECT a.id FROM audit a
WHERE a.organisation_id = $1 AND a.account_id = $2 AND a.action = $3 AND a.at > $4 AND a.target = $5 AND a.reason = $6 LIMIT 1
