-- People, aliases, and the mailboxes that people own.

-- name: put
-- A person is brought up to date by address; id and created_at stay.
INSERT INTO person (id, organisation_id, address, name, department, city, language, attributes, name_lower, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (organisation_id, address) DO UPDATE SET name = excluded.name, department = excluded.department,
  city = excluded.city, language = excluded.language, attributes = excluded.attributes, name_lower = excluded.name_lower,
  updated_at = excluded.updated_at

-- name: insert_mailbox
INSERT INTO mailbox (id, organisation_id, person_id, address, created_at) VALUES ($1, $2, $3, $4, $5)

-- name: insert_folder
INSERT INTO folder (id, mailbox_id, name, role, uid_next, uid_validity) VALUES ($1, $2, $3, $4, $5, $6)

-- name: known_addresses @postgres
SELECT address FROM person WHERE organisation_id = $1
  AND address IN (SELECT value FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: known_addresses
SELECT address FROM person WHERE organisation_id = $1 AND address IN (SELECT value FROM json_each($2))

-- name: page @postgres
-- A filter is $2 and $3 (they bound the texts that start with what was typed; all of them when nothing was), $4 department,
-- $5 city, $6 language; '' lets everybody through. By code points, as SQLite does: the rules of a language ignore the letter that
-- ends the range.
SELECT id, address, name, department, city, language, attributes, protected, created_at FROM person
WHERE organisation_id = $1
  AND ((name_lower COLLATE "C" >= $2 AND name_lower COLLATE "C" < $3) OR (address COLLATE "C" >= $2 AND address COLLATE "C" < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
  AND id > $7 ORDER BY id LIMIT $8

-- name: page
-- A filter is $2 and $3 (they bound the texts that start with what was typed; all of them when nothing was), $4 department,
-- $5 city, $6 language; '' lets everybody through.
SELECT id, address, name, department, city, language, attributes, protected, created_at FROM person
WHERE organisation_id = $1
  AND ((name_lower >= $2 AND name_lower < $3) OR (address >= $2 AND address < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
  AND id > $7 ORDER BY id LIMIT $8

-- name: count_matching @postgres
SELECT COUNT(*) AS n FROM person WHERE organisation_id = $1
  AND ((name_lower COLLATE "C" >= $2 AND name_lower COLLATE "C" < $3) OR (address COLLATE "C" >= $2 AND address COLLATE "C" < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)

-- name: count_matching
SELECT COUNT(*) AS n FROM person WHERE organisation_id = $1
  AND ((name_lower >= $2 AND name_lower < $3) OR (address >= $2 AND address < $3))
  AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)

-- name: facet @postgres
-- $8: the column whose values are counted.
SELECT value, COUNT(*) AS n FROM (
  SELECT CASE CAST($8 AS TEXT) WHEN 'department' THEN department WHEN 'city' THEN city ELSE language END AS value
  FROM person WHERE organisation_id = $1
    AND ((name_lower COLLATE "C" >= $2 AND name_lower COLLATE "C" < $3) OR (address COLLATE "C" >= $2 AND address COLLATE "C" < $3))
    AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
) t WHERE value <> '' GROUP BY value ORDER BY COUNT(*) DESC, value LIMIT $7

-- name: facet
-- $8: the column whose values are counted.
SELECT value, COUNT(*) AS n FROM (
  SELECT CASE CAST($8 AS TEXT) WHEN 'department' THEN department WHEN 'city' THEN city ELSE language END AS value
  FROM person WHERE organisation_id = $1
    AND ((name_lower >= $2 AND name_lower < $3) OR (address >= $2 AND address < $3))
    AND (CAST($4 AS TEXT) = '' OR department = $4) AND (CAST($5 AS TEXT) = '' OR city = $5) AND (CAST($6 AS TEXT) = '' OR language = $6)
) t WHERE value <> '' GROUP BY value ORDER BY COUNT(*) DESC, value LIMIT $7

-- name: count
SELECT COUNT(*) AS people FROM person WHERE organisation_id = $1

-- name: by_id
SELECT id, address, name, department, city, language, attributes, protected, created_at FROM person
WHERE organisation_id = $1 AND id = $2

-- name: by_address
SELECT id, address, name, department, city, language, attributes, protected, created_at FROM person
WHERE organisation_id = $1 AND address = $2

-- name: protect
UPDATE person SET protected = $3 WHERE organisation_id = $1 AND id = $2

-- name: set_attributes
UPDATE person SET attributes = $3 WHERE organisation_id = $1 AND id = $2

-- name: known_ids @postgres
SELECT id FROM person WHERE organisation_id = $1
  AND id IN (SELECT CAST(value AS BIGINT) FROM json_array_elements_text(CAST($2 AS JSON)) AS t(value))

-- name: known_ids
SELECT id FROM person WHERE organisation_id = $1 AND id IN (SELECT value FROM json_each($2))

-- name: set_connector
-- Which system keeps the mailbox: '' as configured for the domain, 'embedded', or a connector's name.
UPDATE mailbox SET connector = $3 WHERE organisation_id = $1 AND address = $2 AND connector <> $3

-- name: put_alias
INSERT INTO alias (organisation_id, address, person_id) VALUES ($1, $2, $3)
ON CONFLICT (organisation_id, address) DO UPDATE SET person_id = excluded.person_id

-- name: recipient
-- By primary address, else by alias; with the folders a delivery can go to.
SELECT p.id AS person_id, p.address, p.department, m.id AS mailbox_id, m.connector, i.id AS inbox_id, j.id AS junk_id
FROM person p
JOIN mailbox m ON m.person_id = p.id
JOIN folder i ON i.mailbox_id = m.id AND i.role = 'inbox'
JOIN folder j ON j.mailbox_id = m.id AND j.role = 'junk'
WHERE p.id = COALESCE(
  (SELECT id FROM person WHERE organisation_id = $1 AND address = $2),
  (SELECT person_id FROM alias WHERE organisation_id = $1 AND address = $2))
