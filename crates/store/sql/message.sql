-- Messages: one body, as it was received or rendered.

-- name: insert
INSERT INTO message (id, organisation_id, direction, pack_id, body_offset, body_bytes, body_sha256, message_id_header,
  reverse_path, from_address, from_name, subject, subject_lower, client_ip, helo, received_at, campaign_id, facts,
  verdict, verdict_class, rule_set_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)

-- name: by_id
SELECT id, organisation_id, direction, pack_id, body_offset, body_bytes, body_sha256, message_id_header, reverse_path,
  from_address, from_name, subject, client_ip, helo, received_at, campaign_id, facts, verdict, verdict_class, rule_set_id
FROM message WHERE id = $1

-- name: insert_terms @postgres
-- $1: rows of [kind, value, message id].
INSERT INTO message_term (kind, value, message_id)
SELECT t.v ->> 0, t.v ->> 1, CAST(t.v ->> 2 AS BIGINT) FROM json_array_elements(CAST($1 AS JSON)) AS t(v)
ON CONFLICT (kind, value, message_id) DO NOTHING

-- name: insert_terms
-- For each row of [kind, value, message id].
INSERT INTO message_term (kind, value, message_id) VALUES ($1, $2, $3) ON CONFLICT (kind, value, message_id) DO NOTHING

-- name: bodies
-- Every stored body once, for verify. A message refused by policy keeps no body (pack_id 0).
SELECT id, pack_id, body_offset, body_bytes, body_sha256 FROM message WHERE id > $1 AND pack_id > 0 ORDER BY id LIMIT $2

-- name: judged
-- Every verdict with what it was made from, for a replay.
SELECT id, facts, verdict, rule_set_id FROM message WHERE id > $1 AND verdict IS NOT NULL ORDER BY id LIMIT $2
