-- What SCRAM-SHA-256 needs of an account's own password (RFC 5802 3, RFC 7677): salt and keys are base64. The row is in force
-- only while its password_hash is that of the account, so that a password that was changed takes its keys along.
CREATE TABLE account_scram (
  account_id BIGINT PRIMARY KEY, password_hash TEXT NOT NULL, salt TEXT NOT NULL, iterations BIGINT NOT NULL,
  stored_key TEXT NOT NULL, server_key TEXT NOT NULL
);
-- A MAC of an app password under the organisation's key, hex: what a mail program types is found without the work that SCRAM's
-- iterations cost. Empty for those made before.
ALTER TABLE app_password ADD COLUMN typed_mac TEXT NOT NULL DEFAULT '';
