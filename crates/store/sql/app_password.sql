-- Passwords for mail programs.

-- name: insert
INSERT INTO app_password (id, organisation_id, account_id, name, scopes, salt, iterations, stored_key, server_key, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: of_account
SELECT id, name, scopes, salt, iterations, stored_key, server_key, created_at, last_used_at FROM app_password
WHERE organisation_id = $1 AND account_id = $2 AND revoked_at IS NULL ORDER BY id DESC LIMIT 200

-- name: revoke
UPDATE app_password SET revoked_at = $4
WHERE organisation_id = $1 AND account_id = $2 AND id = $3 AND revoked_at IS NULL

-- name: touch
UPDATE app_password SET last_used_at = $2 WHERE id = $1
