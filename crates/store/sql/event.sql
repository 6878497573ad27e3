-- Events: append-only. The order of a copy's life is (effective_at, id).

-- name: insert
INSERT INTO event (id, organisation_id, copy_id, kind, place, place_detail, observed_at, effective_at, source, cause_id, actor, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)

-- name: of_copy
SELECT id, copy_id, kind, place, place_detail, observed_at, effective_at, source, cause_id, actor, detail
FROM event WHERE copy_id = $1 ORDER BY effective_at, id
