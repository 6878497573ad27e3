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
FROM list l WHERE l.organisation_id = $1 ORDER BY l.name LIMIT $2

-- name: one
-- As all, of one list.
SELECT l.id, l.name, l.created_at, (SELECT COUNT(*) FROM list_member m WHERE m.list_id = l.id) AS member_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address WHERE m.list_id = l.id) AS suppressed_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address AND s.kind = 'bounced' WHERE m.list_id = l.id) AS bounced_count,
  (SELECT COUNT(*) FROM list_member m JOIN person p ON p.id = m.person_id JOIN suppression s
    ON s.organisation_id = p.organisation_id AND s.address = p.address AND s.kind = 'complained' WHERE m.list_id = l.id) AS complained_count
FROM list l WHERE l.organisation_id = $1 AND l.id = $2

-- name: count
SELECT COUNT(*) AS n FROM list WHERE organisation_id = $1

-- name: add
INSERT INTO list_member (list_id, person_id) VALUES ($1, $2) ON CONFLICT (list_id, person_id) DO NOTHING

-- name: add_matching @postgres
-- Everybody whom a filter of people lets through (person.page), to the list $7.
INSERT INTO list_member (list_id, person_id)
SELECT $7, id FROM person WHERE organisation_id = $1
  AND ((name_lower COLLATE "C" >= $2 AND name_lower COLLATE "C" < $3) OR (address COLLATE "C" >= $2 AND address COLLATE "C" < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
ON CONFLICT (list_id, person_id) DO NOTHING

-- name: add_matching
INSERT INTO list_member (list_id, person_id)
SELECT $7, id FROM person WHERE organisation_id = $1
  AND ((name_lower >= $2 AND name_lower < $3) OR (address >= $2 AND address < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
ON CONFLICT (list_id, person_id) DO NOTHING

-- name: remove
DELETE FROM list_member WHERE list_id = $1 AND person_id = $2

-- name: add_ids @postgres
INSERT INTO list_member (list_id, person_id)
SELECT $1, id FROM person WHERE organisation_id = $2
  AND id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($3 AS JSON)) AS t(value))
ON CONFLICT (list_id, person_id) DO NOTHING

-- name: add_ids
INSERT INTO list_member (list_id, person_id)
SELECT $1, id FROM person WHERE organisation_id = $2 AND id IN (SELECT value FROM json_each($3))
ON CONFLICT (list_id, person_id) DO NOTHING

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
