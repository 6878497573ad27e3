-- Mail that was accepted without a verdict, until it has one. reason: failure, bypass.
CREATE TABLE unjudged (
  message_id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, reason TEXT NOT NULL, received_at BIGINT NOT NULL,
  try_count BIGINT NOT NULL, due_at BIGINT NOT NULL
);
CREATE INDEX unjudged_by_due ON unjudged (organisation_id, due_at, message_id);
-- The times in which an administrator had switched judging off. Append-only but for the end.
CREATE TABLE bypass (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, started_at BIGINT NOT NULL, until_at BIGINT NOT NULL,
  ended_at BIGINT, actor TEXT NOT NULL, reason TEXT NOT NULL, ended_by TEXT NOT NULL
);
CREATE INDEX bypass_by_organisation ON bypass (organisation_id, id);
