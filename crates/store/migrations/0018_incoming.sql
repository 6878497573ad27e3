-- Mail that was answered 250 while judging was switched off, and that is in no mailbox yet. owner: the process that took it in and
-- enters it. raw: as received, without our trace fields. due_at: when it is tried (again).
CREATE TABLE incoming (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, owner BIGINT NOT NULL, received_at BIGINT NOT NULL,
  due_at BIGINT NOT NULL, try_count BIGINT NOT NULL, size_bytes BIGINT NOT NULL, envelope TEXT NOT NULL, raw BYTEA NOT NULL
);
-- What each recipient was promised.
CREATE TABLE incoming_recipient (
  incoming_id BIGINT NOT NULL, position BIGINT NOT NULL, recipient TEXT NOT NULL, disposition TEXT NOT NULL,
  PRIMARY KEY (incoming_id, position)
)
--sqlite: WITHOUT ROWID
;
-- Bodies are read before a mail is entered: nothing is unread any more but what an earlier version left.
DROP INDEX unjudged_unread;
