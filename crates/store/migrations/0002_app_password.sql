-- Passwords that mail programs use instead of an account's own (IMAP, submission): named, revocable, kept as
-- SCRAM-SHA-256 verifiers (RFC 5802 3, RFC 7677). salt, stored_key and server_key are base64. All of one account's share
-- a salt, so that SCRAM, which names the salt before it sees a password, works with each of them.
CREATE TABLE app_password (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, account_id BIGINT NOT NULL, name TEXT NOT NULL,
  scopes TEXT NOT NULL, salt TEXT NOT NULL, iterations BIGINT NOT NULL, stored_key TEXT NOT NULL, server_key TEXT NOT NULL,
  created_at BIGINT NOT NULL, last_used_at BIGINT, revoked_at BIGINT
);
CREATE INDEX app_password_by_account ON app_password (account_id, id);
