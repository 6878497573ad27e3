-- may_tell 0: the sender was not authentic, a notification would hit somebody else. delay_told_at: the delay warning.
ALTER TABLE delivery ADD COLUMN may_tell BIGINT NOT NULL DEFAULT 1;
ALTER TABLE delivery ADD COLUMN delay_told_at BIGINT NOT NULL DEFAULT 0;
-- The mail exchangers' organisation as of the last try, empty before the first: what the queue is shown by.
ALTER TABLE delivery ADD COLUMN mx_group TEXT NOT NULL DEFAULT '';

-- kind: asked, unsubscribed, bounced, complained. copy_id: the copy whose report it was, if one was.
ALTER TABLE suppression ADD COLUMN kind TEXT NOT NULL DEFAULT 'asked';
ALTER TABLE suppression ADD COLUMN copy_id BIGINT;
UPDATE suppression SET kind = 'unsubscribed' WHERE reason = 'unsubscribed';

-- Reports that came back (RFC 3464, RFC 5965 and what hosts send instead), each with what was made of it.
-- message_id: the report as received. matched_by: return_path, copy_header, message_id, or '' (then copy_id is NULL).
-- outcome: counted, repeated, outweighed, noted, unmatched. kind: failed, delayed, delivered, relayed, expanded, abuse,
-- fraud, virus, not_spam, auth_failure, other. class: a word of the table of failure classes, or ''.
CREATE TABLE report (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, message_id BIGINT NOT NULL, copy_id BIGINT, campaign_id BIGINT,
  matched_by TEXT NOT NULL, outcome TEXT NOT NULL, problem TEXT NOT NULL, kind TEXT NOT NULL, class TEXT NOT NULL,
  confidence TEXT NOT NULL, recipient TEXT NOT NULL, status TEXT NOT NULL, diagnostic TEXT NOT NULL,
  reporter TEXT NOT NULL, received_at BIGINT NOT NULL
);
CREATE INDEX report_by_org ON report (organisation_id, id);
CREATE INDEX report_by_copy ON report (copy_id, id);
-- One row for each news of a copy that was counted: the same news again changes nothing.
CREATE TABLE report_counted (copy_id BIGINT NOT NULL, news TEXT NOT NULL, report_id BIGINT NOT NULL, PRIMARY KEY (copy_id, news));
