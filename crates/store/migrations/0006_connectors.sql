-- Mailboxes that another system keeps (LMTP and IMAP), beside the embedded ones.

-- connector: '' as the configuration says for the address's domain, 'embedded', or a connector's name.
ALTER TABLE mailbox ADD COLUMN connector TEXT NOT NULL DEFAULT '';

-- A hand-over to a mailbox system waits in the same queue. connector: its name, '' for what goes out by SMTP.
-- folder_role: inbox or junk.
ALTER TABLE delivery ADD COLUMN connector TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN folder_role TEXT NOT NULL DEFAULT '';
CREATE INDEX delivery_of_connector ON delivery (connector, state, next_try_at, id) WHERE connector <> '';

-- What is being taken out of another system's mailbox: written before it is moved to the holding folder, deleted once its
-- snapshot is kept (or the copy is back) and the holding folder has let it go.
CREATE TABLE connector_held (
  copy_id BIGINT PRIMARY KEY, connector TEXT NOT NULL, mailbox_id BIGINT NOT NULL, message_id BIGINT NOT NULL,
  snapshot TEXT NOT NULL, held_at BIGINT NOT NULL
);
CREATE INDEX connector_held_by_time ON connector_held (held_at);
