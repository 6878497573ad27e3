-- What mail programs (IMAP, RFC 3501) need of the embedded mailbox beyond what the API needed.

-- deleted and draft: the system flags \Deleted and \Draft. modseq: the folder's counter when the flags last changed.
-- origin_copy_id: the item is the owner's own duplicate of that copy (COPY): what is done to the copy is done to it too.
-- An item whose copy_id is its own id is no copy of anything that was sent: the owner's draft, sent mail or duplicate.
ALTER TABLE mail_item ADD COLUMN deleted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE mail_item ADD COLUMN draft BIGINT NOT NULL DEFAULT 0;
ALTER TABLE mail_item ADD COLUMN modseq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE mail_item ADD COLUMN origin_copy_id BIGINT;
CREATE INDEX mail_item_by_origin ON mail_item (origin_copy_id) WHERE origin_copy_id IS NOT NULL;
CREATE INDEX mail_item_by_modseq ON mail_item (folder_id, modseq);

-- modseq: counts changes of flags. recent_uid: items from this uid on were shown to no session yet (\Recent).
ALTER TABLE folder ADD COLUMN modseq BIGINT NOT NULL DEFAULT 0;
ALTER TABLE folder ADD COLUMN recent_uid BIGINT NOT NULL DEFAULT 1;

-- The last UIDVALIDITY given out: a folder made again under an old name must never get the old one's.
ALTER TABLE mailbox ADD COLUMN uid_validity BIGINT NOT NULL DEFAULT 0;

-- Only what the owner said: a folder without a row is subscribed. A name stays subscribed when its folder goes (6.3.6).
CREATE TABLE subscription (
  mailbox_id BIGINT NOT NULL, name TEXT NOT NULL, subscribed BIGINT NOT NULL, PRIMARY KEY (mailbox_id, name)
);
