-- What the delivery agent remembers about TLS: MTA-STS policies, results by day, reports.

-- name: sts_policy
SELECT policy_id, mode, mx, max_age_s, fetched_at, expires_at FROM mta_sts_policy WHERE domain = $1

-- name: put_sts_policy
INSERT INTO mta_sts_policy (domain, policy_id, mode, mx, max_age_s, fetched_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (domain) DO UPDATE SET policy_id = excluded.policy_id, mode = excluded.mode, mx = excluded.mx,
  max_age_s = excluded.max_age_s, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at

-- name: forget_sts_policies
DELETE FROM mta_sts_policy WHERE expires_at < $1

-- name: add_result
-- Sessions of one kind are counted together.
INSERT INTO tls_result (day, policy_domain, result_key, policy_key, is_failure, detail, session_count)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (day, policy_domain, result_key)
DO UPDATE SET session_count = tls_result.session_count + excluded.session_count

-- name: results_of
SELECT policy_key, is_failure, detail, session_count FROM tls_result WHERE day = $1 AND policy_domain = $2
ORDER BY policy_key, is_failure, result_key LIMIT $3

-- name: unreported
-- Days before $1 with results that nobody has begun to report, and begun ones whose sender died.
SELECT r.day, r.policy_domain FROM tls_result r
WHERE r.day < $1 AND NOT EXISTS (
  SELECT 1 FROM tls_report t WHERE t.day = r.day AND t.policy_domain = r.policy_domain
    AND (t.state <> 'claimed' OR t.lease_until > $2))
GROUP BY r.day, r.policy_domain ORDER BY r.day, r.policy_domain LIMIT $3

-- name: claim_report
-- Touches a row for exactly one agent: a first claim inserts, a later one needs the lease to be over.
INSERT INTO tls_report (day, policy_domain, state, lease_until, attempt_count) VALUES ($1, $2, 'claimed', $3, 1)
ON CONFLICT (day, policy_domain) DO UPDATE SET lease_until = excluded.lease_until,
  attempt_count = tls_report.attempt_count + 1
WHERE tls_report.state = 'claimed' AND tls_report.lease_until <= $4

-- name: end_report
UPDATE tls_report SET state = $3, sent_at = $4 WHERE day = $1 AND policy_domain = $2 AND state = 'claimed'

-- name: forget_results
DELETE FROM tls_result WHERE day < $1

-- name: forget_reports
DELETE FROM tls_report WHERE day < $1

-- name: days
-- Days and policy domains, newest first, after the day $1 and its domain $2. The details are one of many.
SELECT r.day, r.policy_domain,
  CAST(SUM(CASE WHEN r.is_failure = 0 THEN r.session_count ELSE 0 END) AS BIGINT) AS success_count,
  CAST(SUM(CASE WHEN r.is_failure = 0 THEN 0 ELSE r.session_count END) AS BIGINT) AS failure_count,
  MAX(r.detail) AS detail, COALESCE(MAX(CASE WHEN r.is_failure = 0 THEN NULL ELSE r.detail END), '') AS failure,
  COALESCE(MAX(t.state), '') AS report_state, MAX(t.sent_at) AS sent_at
FROM tls_result r LEFT JOIN tls_report t ON t.day = r.day AND t.policy_domain = r.policy_domain
WHERE r.day < $1 OR (r.day = $1 AND r.policy_domain > $2)
GROUP BY r.day, r.policy_domain ORDER BY r.day DESC, r.policy_domain LIMIT $3
