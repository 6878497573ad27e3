-- Passwords for mail programs.

-- name: insert
INSERT INTO app_password (id, organisation_id, account_id, name, scopes, salt, iterations, stored_key, server_key, created_at,
  typed_mac)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: of_account
SELECT id, name, scopes, salt, iterations, stored_key, server_key, created_at, last_used_at, typed_mac FROM app_password
WHERE organisation_id = $1 AND account_id = $2 AND revoked_at IS NULL ORDER BY id DESC LIMIT 200

-- name: revoke
UPDATE app_password SET revoked_at = $4
WHERE organisation_id = $1 AND account_id = $2 AND id = $3 AND revoked_at IS NULL

-- name: touch
UPDATE app_password SET last_used_at = $2 WHERE id = $1

-- name: own
-- The keys of an account's own password, as long as they are those of the password that it has.
SELECT s.salt, s.iterations, s.stored_key, s.server_key FROM account_scram s
JOIN account a ON a.id = s.account_id AND a.password_hash = s.password_hash WHERE s.account_id = $1

-- name: keep_own
INSERT INTO account_scram (account_id, password_hash, salt, iterations, stored_key, server_key)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (account_id) DO UPDATE SET password_hash = excluded.password_hash, salt = excluded.salt,
  iterations = excluded.iterations, stored_key = excluded.stored_key, server_key = excluded.server_key

-- name: client_stamp
-- What a login of a mail program rests on, while its session lives. $2: its app password, or 0.
SELECT a.disabled, a.password_hash, b.id AS mailbox_id,
  (SELECT p.scopes FROM app_password p WHERE p.id = $2 AND p.account_id = a.id AND p.revoked_at IS NULL) AS scopes
FROM account a JOIN mailbox b ON b.person_id = a.person_id WHERE a.organisation_id = $3 AND a.id = $1
