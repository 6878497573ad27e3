-- facts: of the header alone, while the body has not been read: judging was off when the mail came in. NULL when the message has
-- its facts.
ALTER TABLE unjudged ADD COLUMN facts TEXT;
CREATE INDEX unjudged_unread ON unjudged (organisation_id, message_id) WHERE facts IS NOT NULL;
