-- Lists of ten thousand and more. Without statistics SQLite answered these by walking everything an organisation has.

-- Where a campaign's copies are, from the index alone; it does what copy_by_campaign did, and more.
DROP INDEX copy_by_campaign;
CREATE INDEX copy_whereabouts ON copy (campaign_id, place, last_event, last_event_at, place_at, organisation_id)
  WHERE campaign_id IS NOT NULL;
-- What is held for one person.
CREATE INDEX copy_by_person ON copy (person_id, id) WHERE person_id IS NOT NULL;
-- People in the order of their pages.
CREATE INDEX person_in_order ON person (organisation_id, id);
