-- Accounts, sessions, API tokens, sign-in links. Tokens are looked up by their hash.

-- name: insert
INSERT INTO account (id, organisation_id, person_id, login, name, role, password_hash, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: people_without
SELECT p.id, p.address, p.name FROM person p
WHERE p.organisation_id = $1 AND NOT EXISTS (SELECT 1 FROM account a WHERE a.person_id = p.id OR a.login = p.address)
ORDER BY p.id

-- name: staff
SELECT id, person_id, login, name, role, disabled, created_at FROM account
WHERE organisation_id = $1 AND role <> 'recipient' ORDER BY id LIMIT 1000

-- name: recipients
SELECT id, login FROM account WHERE organisation_id = $1 AND role = 'recipient' ORDER BY id

-- name: by_login
SELECT id, person_id, login, name, role, disabled, password_hash, created_at FROM account WHERE login = $1

-- name: by_person
SELECT id, person_id, login, name, role, disabled, created_at FROM account WHERE person_id = $1 ORDER BY id LIMIT 1

-- name: by_id
SELECT id, person_id, login, name, role, disabled, created_at FROM account WHERE id = $1

-- name: insert_session
INSERT INTO session (token_hash, id, account_id, created_at, expires_at, csrf) VALUES ($1, $2, $3, $4, $5, $6)

-- name: by_session
SELECT a.id, a.person_id, a.login, a.name, a.role, a.disabled, a.created_at, s.csrf
FROM session s JOIN account a ON a.id = s.account_id
WHERE s.token_hash = $1 AND s.expires_at > $2

-- name: forget_sessions
-- Sessions that are over.
DELETE FROM session WHERE expires_at <= $1

-- name: bound_sessions
-- The newest $2 of an account stay.
DELETE FROM session WHERE account_id = $1 AND id NOT IN (
  SELECT s.id FROM session s WHERE s.account_id = $1 ORDER BY s.id DESC LIMIT $2)

-- name: forget_links
-- Links of an account that nobody used in time. Used ones stay: they say that somebody came in.
DELETE FROM sign_in_link WHERE account_id = $1 AND used_at IS NULL AND expires_at <= $2

-- name: delete_session
DELETE FROM session WHERE token_hash = $1

-- name: insert_sign_in_link
INSERT INTO sign_in_link (token_hash, account_id, created_at, expires_at) VALUES ($1, $2, $3, $4)

-- name: use_sign_in_link
-- One statement marks and tells: two requests with the same link cannot both win.
UPDATE sign_in_link SET used_at = $2 WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2
RETURNING account_id

-- name: insert_token
INSERT INTO api_token (id, organisation_id, account_id, name, token_hash, created_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: tokens
SELECT id, account_id, name, created_at, last_used_at, revoked_at FROM api_token
WHERE organisation_id = $1 AND account_id = $2 ORDER BY id DESC LIMIT 200

-- name: revoke_token
UPDATE api_token SET revoked_at = COALESCE(revoked_at, $4) WHERE organisation_id = $1 AND account_id = $2 AND id = $3

-- name: by_token
SELECT a.id, a.person_id, a.login, a.name, a.role, a.disabled, a.created_at, t.id AS token_id, t.last_used_at
FROM api_token t JOIN account a ON a.id = t.account_id
WHERE t.token_hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > $2)

-- name: touch_token
UPDATE api_token SET last_used_at = $2 WHERE id = $1

-- name: has_signed_in
-- Whether an account has ever had a session, or has a password of its own.
SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM sign_in_link WHERE account_id = $1 AND used_at IS NOT NULL)
  OR EXISTS (SELECT 1 FROM account WHERE id = $1 AND password_hash IS NOT NULL) THEN 1 ELSE 0 END AS BIGINT) AS yes

-- name: password
SELECT password_hash FROM account WHERE id = $1

-- name: set_password
UPDATE account SET password_hash = $2 WHERE id = $1
