-- The incidents of a campaign, for its page.
CREATE INDEX incident_copy_by_campaign ON incident_copy (campaign_id, incident_id);
