-- Mailboxes, folders and the items in them. A copy lies in a mailbox at most once (mail_item_by_copy is unique).
-- Locks, always in this order: copies (copy.lock_many), folders by id, items. A uid is never used twice in a folder.

-- name: insert
INSERT INTO mailbox (id, organisation_id, person_id, address, created_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (person_id) DO NOTHING

-- name: insert_folder
INSERT INTO folder (id, mailbox_id, name, role, uid_next, uid_validity) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (mailbox_id, name) DO NOTHING

-- name: by_id
SELECT id, organisation_id, person_id, address, created_at FROM mailbox WHERE id = $1

-- name: by_person
SELECT id, organisation_id, person_id, address, created_at FROM mailbox WHERE person_id = $1

-- name: of_persons @postgres
SELECT id, person_id FROM mailbox
WHERE person_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: of_persons
SELECT id, person_id FROM mailbox WHERE person_id IN (SELECT value FROM json_each($1))

-- name: bump_roles @postgres
-- First half of deliveries: takes as many uids from each folder as it gets mails, and its row lock until the end, in the
-- order of ids. $1: rows as for deliver_each.
WITH wanted AS (
  SELECT CAST(t.v ->> 0 AS BIGINT) AS mailbox_id, t.v ->> 1 AS role, COUNT(*) AS mail_count
  FROM json_array_elements(CAST($1 AS JSON)) AS t(v) GROUP BY 1, 2
), locked AS (
  SELECT f.id, w.mail_count FROM folder f JOIN wanted w ON w.mailbox_id = f.mailbox_id AND w.role = f.role
  ORDER BY f.id FOR UPDATE OF f
)
UPDATE folder SET uid_next = uid_next + locked.mail_count, modseq = modseq + 1 FROM locked WHERE folder.id = locked.id

-- name: bump_roles
-- First half of a delivery: takes a uid from the folder. For each row as for deliver_each, right before it.
UPDATE folder SET uid_next = uid_next + 1, modseq = modseq + 1 WHERE mailbox_id = $1 AND role = $2

-- name: deliver_each @postgres
-- Second half: the items take the uids that the bump made free. A copy that is there already stays as it is.
-- $1: rows of [mailbox id, role, item id, copy id, message id, internal at, safety tip].
INSERT INTO mail_item (id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, safety_tip, modseq)
SELECT CAST(t.v ->> 2 AS BIGINT), f.mailbox_id, f.id,
  f.uid_next - 1 - COUNT(*) OVER (PARTITION BY f.id) + ROW_NUMBER() OVER (PARTITION BY f.id ORDER BY t.k),
  CAST(t.v ->> 3 AS BIGINT), CAST(t.v ->> 4 AS BIGINT), CAST(t.v ->> 5 AS BIGINT), t.v ->> 6, f.modseq
FROM json_array_elements(CAST($1 AS JSON)) WITH ORDINALITY AS t(v, k)
JOIN folder f ON f.mailbox_id = CAST(t.v ->> 0 AS BIGINT) AND f.role = t.v ->> 1
ON CONFLICT (copy_id) DO NOTHING

-- name: deliver_each
-- Second half: the item takes the uid that the bump made free. A copy that is there already stays as it is.
-- For each row of [mailbox id, role, item id, copy id, message id, internal at, safety tip].
INSERT INTO mail_item (id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, safety_tip, modseq)
SELECT $3, f.mailbox_id, f.id, f.uid_next - 1, $4, $5, $6, $7, f.modseq
FROM folder f WHERE f.mailbox_id = $1 AND f.role = $2
ON CONFLICT (copy_id) DO NOTHING

-- name: insert_item
INSERT INTO mail_item (id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted,
  draft, keywords, safety_tip, origin_copy_id, modseq)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (copy_id) DO NOTHING

-- name: lock_items_of_copies @postgres
-- Alone, without a join: after waiting for a lock PostgreSQL reads the locked row again, but not the joined one.
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip
FROM mail_item
WHERE copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_items_of_copies
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip
FROM mail_item WHERE copy_id IN (SELECT value FROM json_each($1)) ORDER BY id

-- name: delete_items @postgres
DELETE FROM mail_item
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: delete_items
DELETE FROM mail_item WHERE id IN (SELECT value FROM json_each($1))

-- name: folders_by_id @postgres
SELECT id, mailbox_id, name, role, uid_next, uid_validity FROM folder
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: folders_by_id
SELECT id, mailbox_id, name, role, uid_next, uid_validity FROM folder WHERE id IN (SELECT value FROM json_each($1))

-- name: folders_of_mailboxes @postgres
SELECT id, mailbox_id, name, role FROM folder
WHERE mailbox_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: folders_of_mailboxes
SELECT id, mailbox_id, name, role FROM folder WHERE mailbox_id IN (SELECT value FROM json_each($1))

-- name: lock_folders @postgres
-- Locked in the order of ids, so that two transactions never wait for each other.
SELECT id, mailbox_id, name, role, uid_next, modseq FROM folder
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_folders
SELECT id, mailbox_id, name, role, uid_next, modseq FROM folder WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id

-- name: set_uid_next @postgres
-- $1: [[folder id, its next uid], …] of folders locked before; what takes these uids takes the folder's new modseq.
UPDATE folder SET uid_next = CAST(t.v->>1 AS BIGINT), modseq = modseq + 1
FROM json_array_elements(CAST($1 AS JSON)) AS t(v) WHERE folder.id = CAST(t.v->>0 AS BIGINT)

-- name: set_uid_next
UPDATE folder SET uid_next = json_extract(v.value, '$[1]'), modseq = modseq + 1
FROM json_each($1) AS v WHERE folder.id = json_extract(v.value, '$[0]')

-- name: folders
-- One row per folder with how many items it has and how many of them are unread.
SELECT f.id, f.name, f.role, COUNT(i.id) AS total_count, COUNT(i.id) FILTER (WHERE i.seen = 0) AS unseen_count
FROM folder f LEFT JOIN mail_item i ON i.folder_id = f.id
WHERE f.mailbox_id = $1 GROUP BY f.id, f.name, f.role ORDER BY f.name LIMIT $2

-- name: folder_count
SELECT COUNT(*) AS n FROM folder WHERE mailbox_id = $1

-- name: folder
SELECT id, mailbox_id, name, role FROM folder WHERE mailbox_id = $1 AND id = $2

-- name: folder_by_role
SELECT id, mailbox_id, name, role FROM folder WHERE mailbox_id = $1 AND role = $2

-- name: folder_by_name
SELECT id, mailbox_id, name, role FROM folder WHERE mailbox_id = $1 AND name = $2

-- name: delete_folder
-- Only an empty one of the owner's own; guarded by its caller.
DELETE FROM folder WHERE mailbox_id = $1 AND id = $2 AND role = ''
  AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.folder_id = folder.id)

-- name: lock_folder @postgres
SELECT id FROM folder WHERE id = $1 FOR UPDATE

-- name: lock_folder
SELECT id FROM folder WHERE id = $1

-- name: items
-- Newest first; the seek is (internal_at, id) of the last row of the page before.
SELECT i.id, i.folder_id, i.uid, i.copy_id, i.message_id, i.internal_at, i.seen, i.flagged, i.answered, i.keywords,
  i.safety_tip, m.subject, m.from_address, m.from_name, m.body_bytes
FROM mail_item i JOIN message m ON m.id = i.message_id
WHERE i.mailbox_id = $1 AND i.folder_id = $2 AND (i.internal_at, i.id) < ($3, $4)
ORDER BY i.internal_at DESC, i.id DESC LIMIT $5

-- name: item
-- ledger_id is NULL for what is no copy of anything: the owner's own drafts, sent mail and duplicates.
SELECT i.id, i.mailbox_id, i.folder_id, i.uid, i.copy_id, i.message_id, i.internal_at, i.seen, i.flagged, i.answered,
  i.keywords, i.safety_tip, m.subject, m.from_address, m.from_name, m.message_id_header, m.pack_id, m.body_offset,
  m.body_bytes, m.body_sha256, f.name AS folder_name, f.role AS folder_role, m.organisation_id, c.campaign_id,
  c.id AS ledger_id
FROM mail_item i JOIN message m ON m.id = i.message_id JOIN folder f ON f.id = i.folder_id
LEFT JOIN copy c ON c.id = i.copy_id
WHERE i.mailbox_id = $1 AND i.id = $2

-- name: find_copy
SELECT i.id, i.copy_id, i.uid, i.internal_at, i.seen, i.flagged, i.answered, i.deleted, i.draft,
  i.keywords, i.safety_tip, f.id AS folder_id, f.name AS folder_name, f.role AS folder_role
FROM mail_item i JOIN folder f ON f.id = i.folder_id WHERE i.mailbox_id = $1 AND i.copy_id = $2

-- name: find_message_id
-- Copies alone: an owner's own draft or duplicate with the same Message-ID is none.
SELECT i.id, i.copy_id, i.uid, i.internal_at, i.seen, i.flagged, i.answered, i.deleted, i.draft,
  i.keywords, i.safety_tip, f.id AS folder_id, f.name AS folder_name, f.role AS folder_role
FROM message m JOIN mail_item i ON i.message_id = m.id JOIN folder f ON f.id = i.folder_id
WHERE m.message_id_header = $1 AND i.mailbox_id = $2 AND EXISTS (SELECT 1 FROM copy c WHERE c.id = i.copy_id)
ORDER BY i.id LIMIT $3

-- name: lock_item @postgres
SELECT id, folder_id, seen, flagged, answered, keywords FROM mail_item WHERE mailbox_id = $1 AND id = $2 FOR UPDATE

-- name: lock_item
SELECT id, folder_id, seen, flagged, answered, keywords FROM mail_item WHERE mailbox_id = $1 AND id = $2

-- name: set_flags
-- After imap.bump_modseq of its folder, whose number it takes, so that sessions of mail programs notice.
UPDATE mail_item SET seen = $1, flagged = $2, answered = $3, keywords = $4,
  modseq = (SELECT f.modseq FROM folder f WHERE f.id = mail_item.folder_id)
WHERE id = $5

-- name: move_item
UPDATE mail_item SET folder_id = $1, uid = $2, modseq = (SELECT f.modseq FROM folder f WHERE f.id = $1)
WHERE mailbox_id = $3 AND id = $4
