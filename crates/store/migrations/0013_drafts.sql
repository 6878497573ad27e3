-- Every mailbox has a folder for drafts, as mail programs expect (RFC 6154). One of this name that its owner had made is it.
UPDATE folder SET role = 'drafts' WHERE name = 'Drafts' AND role = ''
  AND NOT EXISTS (SELECT 1 FROM folder o WHERE o.mailbox_id = folder.mailbox_id AND o.role = 'drafts');

-- Ids are unique over all tables, so that the mailbox's own is free among folders. The UIDVALIDITY is greater than any that a
-- folder of this mailbox has.
INSERT INTO folder (id, mailbox_id, name, role, uid_next, uid_validity)
SELECT b.id, b.id, 'Drafts', 'drafts', 1, CASE WHEN b.uid_validity > v.greatest THEN b.uid_validity ELSE v.greatest END + 1
FROM mailbox b JOIN (
  SELECT mailbox_id, MAX(uid_validity) AS greatest FROM folder GROUP BY mailbox_id
) AS v ON v.mailbox_id = b.id
WHERE NOT EXISTS (SELECT 1 FROM folder o WHERE o.mailbox_id = b.id AND (o.role = 'drafts' OR o.name = 'Drafts'));

-- The mod-sequence of a mail counts in its folder (RFC 7162): one that was moved here may have brought a greater one along.
UPDATE mail_item SET modseq = 0
WHERE modseq > (SELECT f.modseq FROM folder f WHERE f.id = mail_item.folder_id);
