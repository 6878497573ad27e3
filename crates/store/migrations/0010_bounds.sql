-- Sessions end, and their rows with them: those that are over, and the oldest of an account with too many.
CREATE INDEX session_by_end ON session (expires_at);
CREATE INDEX session_of_account ON session (account_id, id);
-- Whether somebody has looked at the same thing a moment ago: one look is one record.
CREATE INDEX audit_of_account ON audit (account_id, action, at);
