-- What a mail program (IMAP) reads and writes of the embedded mailbox. Locks as in mailbox.sql: copies, folders, items.

-- name: folders
-- Those with a use first: where there are too many, the inbox is not among those left out.
SELECT id, name, role, uid_next, uid_validity, modseq, recent_uid FROM folder WHERE mailbox_id = $1
ORDER BY CASE WHEN role = '' THEN 1 ELSE 0 END, name LIMIT $2

-- name: folder
SELECT id, name, role, uid_next, uid_validity, modseq, recent_uid FROM folder WHERE mailbox_id = $1 AND id = $2

-- name: counts
-- STATUS (RFC 3501 6.3.10). $2: the folder's recent_uid.
SELECT COUNT(*) AS total_count, COUNT(*) FILTER (WHERE seen = 0) AS unseen_count,
  COUNT(*) FILTER (WHERE uid >= $2) AS recent_count, COUNT(*) FILTER (WHERE deleted = 1) AS deleted_count
FROM mail_item WHERE folder_id = $1

-- name: size
SELECT CAST(COALESCE(SUM(m.body_bytes), 0) AS BIGINT) AS size_bytes
FROM mail_item i JOIN message m ON m.id = i.message_id WHERE i.folder_id = $1

-- name: count_below
SELECT COUNT(*) AS total_count FROM mail_item WHERE folder_id = $1 AND uid < $2

-- name: view
-- A page of a folder as a session keeps it: uids and flags.
SELECT uid, seen, flagged, answered, deleted, draft, keywords, modseq FROM mail_item
WHERE folder_id = $1 AND uid >= $2 AND uid < $3 ORDER BY uid LIMIT $4

-- name: changed
SELECT uid, seen, flagged, answered, deleted, draft, keywords, modseq FROM mail_item
WHERE folder_id = $1 AND modseq > $2 AND uid < $3 ORDER BY uid

-- name: uids
SELECT uid FROM mail_item WHERE folder_id = $1 AND uid >= $2 AND uid < $3 ORDER BY uid LIMIT $4

-- name: deleted_uids
SELECT uid FROM mail_item WHERE folder_id = $1 AND deleted = 1 ORDER BY uid

-- name: claim_recent
-- Guarded: of several sessions one is told of a mail as recent (RFC 3501 2.3.2).
UPDATE folder SET recent_uid = $3 WHERE id = $1 AND recent_uid = $2

-- name: contents @postgres
SELECT i.uid, i.message_id, i.internal_at, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM mail_item i JOIN message m ON m.id = i.message_id
WHERE i.folder_id = $1 AND i.uid IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))
ORDER BY i.uid

-- name: contents
SELECT i.uid, i.message_id, i.internal_at, m.pack_id, m.body_offset, m.body_bytes, m.body_sha256
FROM mail_item i JOIN message m ON m.id = i.message_id
WHERE i.folder_id = $1 AND i.uid IN (SELECT value FROM json_each($2)) ORDER BY i.uid

-- name: bump_modseq
-- Takes the folder's row lock on PostgreSQL, so that changes of flags become visible in the order of their numbers.
UPDATE folder SET modseq = modseq + 1 WHERE mailbox_id = $1 AND id = $2 RETURNING modseq

-- name: touch_folders @postgres
-- Mail leaves these folders, which are locked: what has gone has no number of its own any more, so theirs rises.
UPDATE folder SET modseq = modseq + 1
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: touch_folders
UPDATE folder SET modseq = modseq + 1 WHERE id IN (SELECT value FROM json_each($1))

-- name: folders_of_copies @postgres
-- Where some copies and their owners' duplicates lie. Locks nothing: folders are locked before items.
SELECT folder_id FROM mail_item
WHERE copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
UNION SELECT folder_id FROM mail_item
WHERE origin_copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))

-- name: folders_of_copies
SELECT folder_id FROM mail_item WHERE copy_id IN (SELECT value FROM json_each($1))
UNION SELECT folder_id FROM mail_item WHERE origin_copy_id IN (SELECT value FROM json_each($1))

-- name: peek_items @postgres
-- What lies there, with the copy it belongs to where it belongs to one. Locks nothing: copies are locked first.
SELECT i.id, i.copy_id, c.organisation_id, c.campaign_id FROM mail_item i JOIN copy c ON c.id = i.copy_id
WHERE i.folder_id = $1 AND i.uid IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: peek_items
SELECT i.id, i.copy_id, c.organisation_id, c.campaign_id FROM mail_item i JOIN copy c ON c.id = i.copy_id
WHERE i.folder_id = $1 AND i.uid IN (SELECT value FROM json_each($2))

-- name: origins @postgres
-- The copies that some items are, or are duplicates of. Locks nothing.
SELECT DISTINCT COALESCE(i.origin_copy_id, i.copy_id) AS copy_id FROM mail_item i
WHERE i.folder_id = $1 AND i.uid IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: origins
SELECT DISTINCT COALESCE(i.origin_copy_id, i.copy_id) AS copy_id FROM mail_item i
WHERE i.folder_id = $1 AND i.uid IN (SELECT value FROM json_each($2))

-- name: lock_items @postgres
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip, origin_copy_id, modseq
FROM mail_item
WHERE folder_id = $1 AND uid IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_items
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip, origin_copy_id, modseq
FROM mail_item WHERE folder_id = $1 AND uid IN (SELECT value FROM json_each($2)) ORDER BY id

-- name: lock_duplicates @postgres
-- The owner's own duplicates of some copies; the newest last.
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip, origin_copy_id
FROM mail_item
WHERE origin_copy_id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($1 AS JSON)) AS t(value))
ORDER BY id FOR UPDATE

-- name: lock_duplicates
SELECT id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted, draft, keywords,
  safety_tip, origin_copy_id
FROM mail_item WHERE origin_copy_id IN (SELECT value FROM json_each($1)) ORDER BY id

-- name: promote
-- A duplicate takes the place of the copy that its owner deleted. After the deletion: a copy has one item at most.
UPDATE mail_item SET copy_id = $1, origin_copy_id = NULL WHERE id = $2

-- name: set_flags_of @postgres
UPDATE mail_item SET seen = $1, flagged = $2, answered = $3, deleted = $4, draft = $5, keywords = $6, modseq = $7
WHERE id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($8 AS JSON)) AS t(value))

-- name: set_flags_of
UPDATE mail_item SET seen = $1, flagged = $2, answered = $3, deleted = $4, draft = $5, keywords = $6, modseq = $7
WHERE id IN (SELECT value FROM json_each($8))

-- name: bump_uid
-- First half of an APPEND: takes a uid (and, on PostgreSQL, the folder's row lock until the end).
UPDATE folder SET uid_next = uid_next + 1, modseq = modseq + 1 WHERE mailbox_id = $1 AND id = $2

-- name: append
-- Second half: the item takes the uid that the bump made free. Its copy_id is its own id: it is no copy.
INSERT INTO mail_item (id, mailbox_id, folder_id, uid, copy_id, message_id, internal_at, seen, flagged, answered, deleted,
  draft, keywords, modseq)
SELECT CAST($1 AS BIGINT), f.mailbox_id, f.id, f.uid_next - 1, CAST($1 AS BIGINT), CAST($2 AS BIGINT), CAST($3 AS BIGINT),
  CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), CAST($7 AS BIGINT), CAST($8 AS BIGINT), CAST($9 AS TEXT), f.modseq
FROM folder f WHERE f.mailbox_id = $10 AND f.id = $11

-- name: appended
SELECT i.uid, f.uid_validity FROM mail_item i JOIN folder f ON f.id = i.folder_id
WHERE i.id = $1 AND i.folder_id = $2

-- name: move_items @postgres
-- $2: [[item id, its uid in the folder $1], …]
UPDATE mail_item SET folder_id = $1, uid = CAST(t.v->>1 AS BIGINT),
  modseq = (SELECT f.modseq FROM folder f WHERE f.id = $1)
FROM json_array_elements(CAST($2 AS JSON)) AS t(v) WHERE mail_item.id = CAST(t.v->>0 AS BIGINT)

-- name: move_items
UPDATE mail_item SET folder_id = $1, uid = json_extract(v.value, '$[1]'),
  modseq = (SELECT f.modseq FROM folder f WHERE f.id = $1)
FROM json_each($2) AS v WHERE mail_item.id = json_extract(v.value, '$[0]')

-- name: next_uid_validity
-- The seconds of now, and always more than any before in this mailbox.
UPDATE mailbox SET uid_validity = CASE WHEN uid_validity >= $2 THEN uid_validity + 1 ELSE $2 END
WHERE id = $1 RETURNING uid_validity

-- name: rename_folder
UPDATE folder SET name = $3, uid_validity = $4 WHERE mailbox_id = $1 AND id = $2

-- name: drop_folder
-- Guarded: only an empty one of the owner's own.
DELETE FROM folder WHERE mailbox_id = $1 AND id = $2 AND role = ''
  AND NOT EXISTS (SELECT 1 FROM mail_item i WHERE i.folder_id = folder.id)

-- name: subscriptions
SELECT name, subscribed FROM subscription WHERE mailbox_id = $1 ORDER BY name LIMIT $2

-- name: subscribe
INSERT INTO subscription (mailbox_id, name, subscribed) VALUES ($1, $2, $3)
ON CONFLICT (mailbox_id, name) DO UPDATE SET subscribed = excluded.subscribed
