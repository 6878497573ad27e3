-- Backtests: what a change would have done with the organisation's own recent mail.

-- name: insert
INSERT INTO backtest (id, organisation_id, change_id, state, started_at, total_count, lease_until)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: by_id
SELECT id, change_id, state, started_at, finished_at, judged_count, total_count, moved_count, warning, report
FROM backtest WHERE id = $1 AND organisation_id = $2

-- name: of_change
SELECT id, change_id, state, started_at, finished_at, judged_count, total_count, moved_count, warning, report
FROM backtest WHERE change_id = $1 AND organisation_id = $2 ORDER BY id DESC LIMIT $3

-- name: progress
UPDATE backtest SET judged_count = $1, moved_count = $2 WHERE id = $3 AND state = 'running'

-- name: renew
-- Whoever runs it lives. None touched: somebody has ended it.
UPDATE backtest SET lease_until = $1 WHERE id = $2 AND state = 'running'

-- name: finish
UPDATE backtest SET state = $1, finished_at = $2, judged_count = $3, moved_count = $4, warning = $5, report = $6
WHERE id = $7 AND state = 'running'

-- name: fail
UPDATE backtest SET state = 'failed', finished_at = $1, warning = $2 WHERE id = $3 AND state = 'running'

-- name: fail_running
-- Before a backtest of the same change starts again.
UPDATE backtest SET state = 'failed', finished_at = $1, warning = $2 WHERE change_id = $3 AND state = 'running'

-- name: fail_silent
-- Those of a change whose process has been silent until $4.
UPDATE backtest SET state = 'failed', finished_at = $1, warning = $2
WHERE change_id = $3 AND state = 'running' AND lease_until <= $4

-- name: lease
SELECT lease_until FROM backtest WHERE id = $1

-- name: running
SELECT id FROM backtest WHERE change_id = $1 AND state = 'running' LIMIT 1

-- name: insert_copy
INSERT INTO backtest_copy (backtest_id, copy_id, message_id, campaign_id, from_place, to_disposition, purge, class_before,
  class_after, sentence)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: copies
-- Each copy the change would move, in the order of ids; $4 = 1 asks for those only that activating pulls back.
SELECT b.copy_id, b.message_id, b.campaign_id, b.from_place, b.to_disposition, b.purge, b.class_before, b.class_after,
  b.sentence, c.recipient, m.subject
FROM backtest_copy b JOIN backtest t ON t.id = b.backtest_id JOIN copy c ON c.id = b.copy_id JOIN message m ON m.id = b.message_id
WHERE b.backtest_id = $1 AND t.organisation_id = $2 AND b.copy_id > $3 AND ($4 = 0 OR b.purge <> '')
ORDER BY b.copy_id LIMIT $5

-- name: mail_count
-- Judged mail in the window.
SELECT COUNT(*) AS message_count FROM message
WHERE organisation_id = $1 AND received_at >= $2 AND facts IS NOT NULL AND direction = 'inbound'

-- name: mail_page
-- Newest first, so that a bounded sample holds what a purge could still reach.
SELECT id, received_at, subject, facts FROM message
WHERE organisation_id = $1 AND received_at >= $2 AND facts IS NOT NULL AND direction = 'inbound'
  AND (received_at < $3 OR (received_at = $3 AND id < $4))
ORDER BY received_at DESC, id DESC LIMIT $5

-- name: copies_of_mail @postgres
-- The copies of these received messages with what a decision and a purge look at. A campaign's copy names the received
-- message beside the rendered one; other mail has only the received one.
SELECT c.id AS copy_id, COALESCE(c.received_message_id, c.message_id) AS judged_id, c.campaign_id, COALESCE(g.name, '') AS campaign_name,
  COALESCE(p.address, c.recipient) AS address, c.place, c.place_at, COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM copy c LEFT JOIN person p ON p.id = c.person_id LEFT JOIN campaign g ON g.id = c.campaign_id
LEFT JOIN mail_item i ON i.copy_id = c.id
WHERE c.received_message_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
UNION ALL
SELECT c.id AS copy_id, c.message_id AS judged_id, c.campaign_id, COALESCE(g.name, '') AS campaign_name,
  COALESCE(p.address, c.recipient) AS address, c.place, c.place_at, COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM copy c LEFT JOIN person p ON p.id = c.person_id LEFT JOIN campaign g ON g.id = c.campaign_id
LEFT JOIN mail_item i ON i.copy_id = c.id
WHERE c.received_message_id IS NULL
  AND c.message_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: copies_of_mail
SELECT c.id AS copy_id, COALESCE(c.received_message_id, c.message_id) AS judged_id, c.campaign_id, COALESCE(g.name, '') AS campaign_name,
  COALESCE(p.address, c.recipient) AS address, c.place, c.place_at, COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM copy c LEFT JOIN person p ON p.id = c.person_id LEFT JOIN campaign g ON g.id = c.campaign_id
LEFT JOIN mail_item i ON i.copy_id = c.id
WHERE c.received_message_id IN (SELECT value FROM json_each($1))
UNION ALL
SELECT c.id AS copy_id, c.message_id AS judged_id, c.campaign_id, COALESCE(g.name, '') AS campaign_name,
  COALESCE(p.address, c.recipient) AS address, c.place, c.place_at, COALESCE(p.department, '') AS department, i.seen, i.internal_at
FROM copy c LEFT JOIN person p ON p.id = c.person_id LEFT JOIN campaign g ON g.id = c.campaign_id
LEFT JOIN mail_item i ON i.copy_id = c.id
WHERE c.received_message_id IS NULL AND c.message_id IN (SELECT value FROM json_each($1))
