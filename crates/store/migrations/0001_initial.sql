-- The first schema. One text for SQLite and PostgreSQL: BIGINT and TEXT only, booleans as BIGINT 0/1, lists and
-- structures as JSON in TEXT, times as BIGINT microseconds UTC (`*_at`), places and events by their words.
-- (For SQLite the migrator writes BIGINT PRIMARY KEY as INTEGER PRIMARY KEY, which makes the id the row itself.)
-- Migrations expand, then contract, in different releases.

-- ---------------------------------------------------------------- the organisation and its people
CREATE TABLE organisation (
  id BIGINT PRIMARY KEY, name TEXT NOT NULL, domains TEXT NOT NULL, created_at BIGINT NOT NULL
);
-- What an organisation changes: key -> JSON value (thresholds, tracking hosts, floors, delays).
CREATE TABLE setting (
  organisation_id BIGINT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, updated_at BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, name)
);
-- Key material: DKIM private keys, MAC keys. `name` is the key id (DKIM: selector._domainkey.domain).
CREATE TABLE secret (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
  material TEXT NOT NULL, created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX secret_by_name ON secret (organisation_id, kind, name);

CREATE TABLE person (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, address TEXT NOT NULL, name TEXT NOT NULL,
  department TEXT NOT NULL, city TEXT NOT NULL, language TEXT NOT NULL, attributes TEXT NOT NULL,
  name_lower TEXT NOT NULL, protected BIGINT NOT NULL DEFAULT 0, created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX person_by_address ON person (organisation_id, address);
-- Further addresses that reach a person (postmaster, aliases). Recipients are verified here and in person.
CREATE TABLE alias (
  organisation_id BIGINT NOT NULL, address TEXT NOT NULL, person_id BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, address)
);
CREATE TABLE list (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, name TEXT NOT NULL, created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX list_by_name ON list (organisation_id, name);
CREATE TABLE list_member (
  list_id BIGINT NOT NULL, person_id BIGINT NOT NULL, PRIMARY KEY (list_id, person_id)
);
CREATE TABLE suppression (
  organisation_id BIGINT NOT NULL, address TEXT NOT NULL, reason TEXT NOT NULL, created_at BIGINT NOT NULL,
  PRIMARY KEY (organisation_id, address)
);

-- ---------------------------------------------------------------- who signs in
CREATE TABLE account (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, person_id BIGINT, login TEXT NOT NULL, name TEXT NOT NULL,
  role TEXT NOT NULL, password_hash TEXT, disabled BIGINT NOT NULL DEFAULT 0, created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX account_by_login ON account (login);
CREATE INDEX account_by_person ON account (person_id);
-- Tokens are stored as SHA-256 hex of 256 random bits, never in clear.
CREATE TABLE session (
  token_hash TEXT PRIMARY KEY, id BIGINT NOT NULL, account_id BIGINT NOT NULL, created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL, csrf TEXT NOT NULL
);
CREATE TABLE api_token (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, account_id BIGINT NOT NULL, name TEXT NOT NULL,
  token_hash TEXT NOT NULL, created_at BIGINT NOT NULL, last_used_at BIGINT, expires_at BIGINT, revoked_at BIGINT
);
CREATE UNIQUE INDEX api_token_by_hash ON api_token (token_hash);
-- One-time sign-in links (first run, invitations).
CREATE TABLE sign_in_link (
  token_hash TEXT PRIMARY KEY, account_id BIGINT NOT NULL, created_at BIGINT NOT NULL, expires_at BIGINT NOT NULL,
  used_at BIGINT
);
CREATE TABLE audit (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, account_id BIGINT, at BIGINT NOT NULL, action TEXT NOT NULL,
  target TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX audit_by_time ON audit (organisation_id, id);

-- ---------------------------------------------------------------- bodies and messages
-- One object of many bodies; a body is (pack_id, body_offset, body_bytes).
CREATE TABLE pack (
  id BIGINT PRIMARY KEY, size_bytes BIGINT NOT NULL, body_count BIGINT NOT NULL, created_at BIGINT NOT NULL
);
-- direction: inbound | outbound (our campaign, as rendered). facts and verdict are JSON, NULL until judged.
CREATE TABLE message (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, direction TEXT NOT NULL,
  pack_id BIGINT NOT NULL, body_offset BIGINT NOT NULL, body_bytes BIGINT NOT NULL, body_sha256 TEXT NOT NULL,
  message_id_header TEXT NOT NULL, reverse_path TEXT NOT NULL, from_address TEXT NOT NULL, from_name TEXT NOT NULL,
  subject TEXT NOT NULL, subject_lower TEXT NOT NULL, client_ip TEXT NOT NULL, helo TEXT NOT NULL,
  received_at BIGINT NOT NULL, campaign_id BIGINT, facts TEXT, verdict TEXT, verdict_class TEXT, rule_set_id BIGINT
);
CREATE INDEX message_by_time ON message (organisation_id, received_at, id);
CREATE INDEX message_by_header ON message (message_id_header);
CREATE INDEX message_by_sender ON message (organisation_id, from_address, received_at);
CREATE INDEX message_by_pack ON message (pack_id);
-- The index that finds candidates after a change: kind in url_host, url, domain, sender, sender_domain, file_sha256.
CREATE TABLE message_term (
  kind TEXT NOT NULL, value TEXT NOT NULL, message_id BIGINT NOT NULL, PRIMARY KEY (kind, value, message_id)
);

-- ---------------------------------------------------------------- the ledger
-- One row per (message, recipient). For our campaign: born at enqueue (message_id is the rendered outbound message),
-- and the gateway adds the message as received (received_message_id). place and last_event equal the fold of the events.
CREATE TABLE copy (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, message_id BIGINT NOT NULL, received_message_id BIGINT,
  campaign_id BIGINT, person_id BIGINT, recipient TEXT NOT NULL,
  place TEXT NOT NULL, place_detail TEXT NOT NULL DEFAULT '', last_event TEXT NOT NULL, last_event_at BIGINT NOT NULL,
  place_at BIGINT NOT NULL, evidence_at BIGINT NOT NULL DEFAULT 0, -- the newest effective_at of any event
  disposition TEXT, policy TEXT, decision TEXT, created_at BIGINT NOT NULL
);
CREATE INDEX copy_by_message ON copy (message_id);
CREATE INDEX copy_by_received ON copy (received_message_id);
CREATE INDEX copy_by_campaign ON copy (campaign_id, place, id);
CREATE INDEX copy_in_campaign ON copy (campaign_id, id);
CREATE INDEX copy_by_recipient ON copy (organisation_id, recipient, id);
CREATE INDEX copy_by_place ON copy (organisation_id, place, id);
-- "Exactly once" between our own ends: the first arrival of a campaign copy owns this row.
CREATE TABLE received_copy (
  copy_id BIGINT PRIMARY KEY, message_id BIGINT NOT NULL, received_at BIGINT NOT NULL
);
-- Append-only. place: what this entry proves, NULL when its kind implies it. source: gateway, smtp, quarantine, purge, mailbox …
CREATE TABLE event (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, copy_id BIGINT NOT NULL, kind TEXT NOT NULL, place TEXT,
  place_detail TEXT NOT NULL DEFAULT '', observed_at BIGINT NOT NULL, effective_at BIGINT NOT NULL,
  source TEXT NOT NULL, cause_id BIGINT, actor TEXT NOT NULL DEFAULT '', detail TEXT NOT NULL
);
CREATE INDEX event_by_copy ON event (copy_id, effective_at, id);
CREATE INDEX event_by_time ON event (organisation_id, id);
CREATE INDEX event_by_cause ON event (cause_id, copy_id) WHERE cause_id IS NOT NULL;

-- ---------------------------------------------------------------- mailboxes
CREATE TABLE mailbox (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, person_id BIGINT NOT NULL, address TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX mailbox_by_person ON mailbox (person_id);
-- role: inbox, junk, sent, trash, drafts, archive or '' for a folder of one's own.
CREATE TABLE folder (
  id BIGINT PRIMARY KEY, mailbox_id BIGINT NOT NULL, name TEXT NOT NULL, role TEXT NOT NULL,
  uid_next BIGINT NOT NULL, uid_validity BIGINT NOT NULL
);
CREATE UNIQUE INDEX folder_by_name ON folder (mailbox_id, name);
CREATE TABLE mail_item (
  id BIGINT PRIMARY KEY, mailbox_id BIGINT NOT NULL, folder_id BIGINT NOT NULL, uid BIGINT NOT NULL,
  copy_id BIGINT NOT NULL, message_id BIGINT NOT NULL, internal_at BIGINT NOT NULL,
  seen BIGINT NOT NULL DEFAULT 0, flagged BIGINT NOT NULL DEFAULT 0, answered BIGINT NOT NULL DEFAULT 0,
  keywords TEXT NOT NULL DEFAULT '[]', safety_tip TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX mail_item_by_uid ON mail_item (folder_id, uid);
-- A copy lies in a mailbox at most once, whoever delivers, releases or restores it.
CREATE UNIQUE INDEX mail_item_by_copy ON mail_item (copy_id);
CREATE INDEX mail_item_by_message ON mail_item (message_id);
CREATE INDEX mail_item_by_folder ON mail_item (folder_id, internal_at, id);
CREATE INDEX mail_item_by_mailbox ON mail_item (mailbox_id, internal_at, id);

-- ---------------------------------------------------------------- quarantine
-- held_by: arrival | purge. snapshot: JSON {folder, folder_role, seen, flagged, answered, keywords, internal_at} of a purged copy.
-- cause_id: the change that pulled it back. permissions: bits of the quarantine policy, bound when it was held.
CREATE TABLE quarantine_item (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, copy_id BIGINT NOT NULL, message_id BIGINT NOT NULL,
  campaign_id BIGINT, recipient TEXT NOT NULL, sender TEXT NOT NULL, subject TEXT NOT NULL, subject_lower TEXT NOT NULL,
  size_bytes BIGINT NOT NULL, held_by TEXT NOT NULL, reason TEXT NOT NULL, policy_name TEXT NOT NULL,
  explanation TEXT NOT NULL, permissions BIGINT NOT NULL, status TEXT NOT NULL, snapshot TEXT, cause_id BIGINT,
  held_at BIGINT NOT NULL, expires_at BIGINT NOT NULL, requested_by TEXT NOT NULL DEFAULT '', decided_by TEXT NOT NULL DEFAULT '',
  decided_at BIGINT
);
CREATE INDEX quarantine_by_status ON quarantine_item (organisation_id, status, id);
CREATE INDEX quarantine_by_org ON quarantine_item (organisation_id, id);
CREATE INDEX quarantine_by_copy ON quarantine_item (copy_id);
CREATE INDEX quarantine_by_recipient ON quarantine_item (organisation_id, recipient, id);
CREATE INDEX quarantine_by_campaign ON quarantine_item (campaign_id, status, id);
CREATE INDEX quarantine_by_cause ON quarantine_item (cause_id, status, id);
CREATE INDEX quarantine_by_expiry ON quarantine_item (status, expires_at);

-- ---------------------------------------------------------------- outbound queue
-- state: due (next_try_at), leased (lease_until, lease_owner), held (paused with its campaign), done, failed.
CREATE TABLE delivery (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, copy_id BIGINT NOT NULL, message_id BIGINT NOT NULL,
  campaign_id BIGINT, reverse_path TEXT NOT NULL, recipient TEXT NOT NULL, recipient_domain TEXT NOT NULL,
  state TEXT NOT NULL, attempt_count BIGINT NOT NULL DEFAULT 0, next_try_at BIGINT NOT NULL, give_up_at BIGINT NOT NULL,
  lease_until BIGINT NOT NULL DEFAULT 0, lease_owner TEXT NOT NULL DEFAULT '', last_reply TEXT NOT NULL DEFAULT '',
  created_at BIGINT NOT NULL
);
CREATE INDEX delivery_by_due ON delivery (state, next_try_at, id);
CREATE INDEX delivery_by_campaign ON delivery (campaign_id, state);
CREATE INDEX delivery_by_copy ON delivery (copy_id);
CREATE INDEX delivery_by_owner ON delivery (lease_owner, state) WHERE lease_owner <> '';
CREATE INDEX delivery_in_queue ON delivery (organisation_id, state, recipient_domain, id)
  WHERE state IN ('due', 'leased', 'held');

-- ---------------------------------------------------------------- campaigns
-- state: draft, sending, paused, sent, cancelled. tracking: anonymous, individual, off. content_type: mjml, html.
CREATE TABLE campaign (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, name TEXT NOT NULL, subject TEXT NOT NULL,
  from_name TEXT NOT NULL, from_address TEXT NOT NULL, content_type TEXT NOT NULL, content TEXT NOT NULL,
  list_id BIGINT, state TEXT NOT NULL, tracking TEXT NOT NULL, click_tracking BIGINT NOT NULL DEFAULT 1,
  audience_count BIGINT NOT NULL DEFAULT 0, suppressed_count BIGINT NOT NULL DEFAULT 0, created_by BIGINT,
  created_at BIGINT NOT NULL, updated_at BIGINT NOT NULL, send_started_at BIGINT, sent_at BIGINT,
  dispatch_lease_until BIGINT NOT NULL DEFAULT 0, dispatch_owner TEXT NOT NULL DEFAULT ''
);
CREATE INDEX campaign_by_org ON campaign (organisation_id, id);
CREATE INDEX campaign_by_state ON campaign (state, id);
-- The audience, frozen when sending starts; state: pending, enqueued, suppressed, cancelled. copy_id is set with `enqueued`.
CREATE TABLE campaign_recipient (
  campaign_id BIGINT NOT NULL, position BIGINT NOT NULL, person_id BIGINT NOT NULL, address TEXT NOT NULL,
  fields TEXT NOT NULL, state TEXT NOT NULL, copy_id BIGINT, PRIMARY KEY (campaign_id, position)
);
CREATE INDEX campaign_recipient_by_state ON campaign_recipient (campaign_id, state, position);
CREATE TABLE link (
  id BIGINT PRIMARY KEY, campaign_id BIGINT NOT NULL, position BIGINT NOT NULL, url TEXT NOT NULL
);
CREATE INDEX link_by_campaign ON link (campaign_id, position);
-- Every fetch of a pixel or link, raw. class: person, machine, unknown. copy_id only in individual mode; nonce_hash otherwise.
CREATE TABLE hit (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, campaign_id BIGINT NOT NULL, link_id BIGINT, kind TEXT NOT NULL,
  copy_id BIGINT, nonce TEXT NOT NULL, at BIGINT NOT NULL, method TEXT NOT NULL, user_agent TEXT NOT NULL,
  client_hash TEXT NOT NULL, class TEXT NOT NULL, class_reason TEXT NOT NULL
);
CREATE INDEX hit_by_nonce ON hit (campaign_id, nonce, at);
CREATE INDEX hit_by_campaign ON hit (campaign_id, kind, class);
-- Finds what waits to be scored (class unknown, no reason yet) without reading the rest.
CREATE INDEX hit_by_class ON hit (class, class_reason, at);

-- ---------------------------------------------------------------- protection: policies, feeds, lists, weights, versions, changes
CREATE TABLE policy (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, name TEXT NOT NULL, priority BIGINT NOT NULL,
  body TEXT NOT NULL, updated_at BIGINT NOT NULL
);
-- Immutable. source: JSON of verdict::RuleSetSource. Exactly one row per organisation has active = 1.
CREATE TABLE rule_set (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, parent_id BIGINT, hash TEXT NOT NULL, source TEXT NOT NULL,
  author TEXT NOT NULL, reason TEXT NOT NULL, backtest_id BIGINT, change_id BIGINT, active BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX rule_set_by_org ON rule_set (organisation_id, active, id);
CREATE UNIQUE INDEX rule_set_active ON rule_set (organisation_id) WHERE active = 1;
-- kind: feed, list, weight. state: proposed, backtesting, backtested, stopped, active, undone.
-- undone_by, undone_at, undo_reason: who ended it, also for a stop.
-- diff: JSON of changes::Diff. warned: the backtest warned and the activation overrode it (override_reason).
CREATE TABLE change (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL,
  diff TEXT NOT NULL, reason TEXT NOT NULL, proposed_by TEXT NOT NULL, created_at BIGINT NOT NULL,
  backtest_id BIGINT, base_rule_set_id BIGINT, rule_set_id BIGINT,
  activated_by TEXT NOT NULL DEFAULT '', activated_at BIGINT, override_reason TEXT NOT NULL DEFAULT '',
  undone_by TEXT NOT NULL DEFAULT '', undone_at BIGINT, undo_reason TEXT NOT NULL DEFAULT '', updated_at BIGINT NOT NULL
);
CREATE INDEX change_by_org ON change (organisation_id, id);
CREATE INDEX change_by_state ON change (state, id);
CREATE TABLE backtest (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, change_id BIGINT NOT NULL, state TEXT NOT NULL,
  started_at BIGINT NOT NULL, finished_at BIGINT, judged_count BIGINT NOT NULL DEFAULT 0, total_count BIGINT NOT NULL DEFAULT 0,
  moved_count BIGINT NOT NULL DEFAULT 0, warning TEXT NOT NULL DEFAULT '', report TEXT NOT NULL DEFAULT '{}'
);
-- Each copy the change would move, so that prediction and effect can be compared id by id. purge: where activating it
-- pulls the landed copy (quarantine, junk), empty when it stays and only later mail is treated so.
CREATE TABLE backtest_copy (
  backtest_id BIGINT NOT NULL, copy_id BIGINT NOT NULL, message_id BIGINT NOT NULL, campaign_id BIGINT,
  from_place TEXT NOT NULL, to_disposition TEXT NOT NULL, purge TEXT NOT NULL, class_before TEXT NOT NULL, class_after TEXT NOT NULL,
  sentence TEXT NOT NULL, PRIMARY KEY (backtest_id, copy_id)
);

-- ---------------------------------------------------------------- jobs: long work with a progress bar
-- kind: purge, restore, release, import … state: waiting, running, done, failed. cause_id: change, campaign or incident.
CREATE TABLE job (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, kind TEXT NOT NULL, title TEXT NOT NULL, state TEXT NOT NULL,
  cause_id BIGINT, params TEXT NOT NULL, done_count BIGINT NOT NULL DEFAULT 0, failed_count BIGINT NOT NULL DEFAULT 0,
  total_count BIGINT NOT NULL DEFAULT 0, result TEXT NOT NULL DEFAULT '', actor TEXT NOT NULL,
  created_at BIGINT NOT NULL, started_at BIGINT, finished_at BIGINT, lease_until BIGINT NOT NULL DEFAULT 0
);
CREATE INDEX job_by_state ON job (state, id);
CREATE INDEX job_by_cause ON job (cause_id, id);

-- ---------------------------------------------------------------- incidents
-- status: open, identified, monitoring, resolved. cause_kind: change, unknown (cause_id: a stable hash of its words).
-- One incident per (cause_kind, cause_id). progress: what the updates have said already, so that none is written twice.
CREATE TABLE incident (
  id BIGINT PRIMARY KEY, organisation_id BIGINT NOT NULL, cause_kind TEXT NOT NULL, cause_id BIGINT NOT NULL,
  title TEXT NOT NULL, status TEXT NOT NULL, cause TEXT NOT NULL, progress TEXT NOT NULL DEFAULT '{}',
  impact_count BIGINT NOT NULL DEFAULT 0,
  peak_count BIGINT NOT NULL DEFAULT 0, opened_at BIGINT NOT NULL, resolved_at BIGINT, updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX incident_by_cause ON incident (organisation_id, cause_kind, cause_id);
CREATE TABLE incident_copy (
  incident_id BIGINT NOT NULL, copy_id BIGINT NOT NULL, campaign_id BIGINT, added_at BIGINT NOT NULL,
  PRIMARY KEY (incident_id, copy_id)
);
CREATE INDEX incident_copy_by_copy ON incident_copy (copy_id);
CREATE TABLE incident_update (
  id BIGINT PRIMARY KEY, incident_id BIGINT NOT NULL, at BIGINT NOT NULL, author TEXT NOT NULL, status TEXT NOT NULL,
  text TEXT NOT NULL
);
CREATE INDEX incident_update_by_incident ON incident_update (incident_id, id);
