-- Lists of people.

-- name: put
INSERT INTO list (id, organisation_id, name, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (organisation_id, name) DO NOTHING

-- name: by_name
SELECT id FROM list WHERE organisation_id = $1 AND name = $2

-- name: all
-- With those of its people whom no campaign reaches, and why, so that it is known before sending.
SELECT l.id, l.name, l.created_at, (SELECT COUNT(*) FROM list_member m WHERE m.list_id = l.id) AS member_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address WHERE m.list_id = l.id) AS suppressed_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address AND s.kind = 'bounced' WHERE m.list_id = l.id) AS bounced_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address AND s.kind = 'complained' WHERE m.list_id = l.id) AS complained_count
FROM list l WHERE l.organisation_id = $1 ORDER BY l.name

-- name: add
INSERT INTO list_member (list_id, person_id) VALUES ($1, $2) ON CONFLICT (list_id, person_id) DO NOTHING

-- name: add_by_address @postgres
INSERT INTO list_member (list_id, person_id)
SELECT $1, id FROM person WHERE organisation_id = $2
  AND address IN (SELECT value FROM json_array_elements_text(CAST($3 AS JSON)) AS t(value))
ON CONFLICT (list_id, person_id) DO NOTHING

-- name: add_by_address
INSERT INTO list_member (list_id, person_id)
SELECT $1, id FROM person WHERE organisation_id = $2 AND address IN (SELECT value FROM json_each($3))
ON CONFLICT (list_id, person_id) DO NOTHING

-- name: members_page
SELECT p.id, p.address, p.name, p.department, p.city, p.language, p.attributes, p.protected, p.created_at
FROM list_member m JOIN person p ON p.id = m.person_id
WHERE p.organisation_id = $1 AND m.list_id = $2 AND p.id > $3 ORDER BY p.id LIMIT $4
