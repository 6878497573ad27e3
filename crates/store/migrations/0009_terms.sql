-- On SQLite a table with a key of its own is two trees: the rows by number, and the index. This table is its index alone,
-- which halves what an arriving mail has to write for its terms. (PostgreSQL keeps a heap in any case.)
--sqlite: CREATE TABLE message_term_indexed (
--sqlite:   kind TEXT NOT NULL, value TEXT NOT NULL, message_id BIGINT NOT NULL, PRIMARY KEY (kind, value, message_id)
--sqlite: ) WITHOUT ROWID;
--sqlite: INSERT INTO message_term_indexed (kind, value, message_id)
--sqlite:   SELECT kind, value, message_id FROM message_term ORDER BY kind, value, message_id;
--sqlite: DROP TABLE message_term;
--sqlite: ALTER TABLE message_term_indexed RENAME TO message_term;

-- Mail of others belongs to no campaign: it need not be entered in the index of campaigns.
DROP INDEX copy_in_campaign;
CREATE INDEX copy_in_campaign ON copy (campaign_id, id) WHERE campaign_id IS NOT NULL;
-- The mail of a mailbox is found by its folders.
DROP INDEX mail_item_by_mailbox;
