-- The delivery agent: what a sender asked for, policies that are remembered, TLS results to report.
-- notify, orcpt, ret, envid: the DSN parameters of RFC 3461 as they were given, '' when not; they go along to a host that
-- offers DSN. require_tls: RFC 8689. purpose: '' for mail, 'tls_report' for a report of ours, whose own TLS results are
-- never reported (RFC 8460 has no report about a report).
ALTER TABLE delivery ADD COLUMN notify TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN orcpt TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN ret TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN envid TEXT NOT NULL DEFAULT '';
ALTER TABLE delivery ADD COLUMN require_tls BIGINT NOT NULL DEFAULT 0;
ALTER TABLE delivery ADD COLUMN purpose TEXT NOT NULL DEFAULT '';
-- MTA-STS policies (RFC 8461) as fetched. mode: enforce, testing, none. mx is a JSON list of patterns.
CREATE TABLE mta_sts_policy (
  domain TEXT PRIMARY KEY, policy_id TEXT NOT NULL, mode TEXT NOT NULL, mx TEXT NOT NULL, max_age_s BIGINT NOT NULL,
  fetched_at BIGINT NOT NULL, expires_at BIGINT NOT NULL
);
-- TLS results (RFC 8460) by UTC day (days since 1970) and policy domain. result_key is a hash of everything that makes two
-- results the same; detail is JSON: the policy, and for failures the failure's details.
CREATE TABLE tls_result (
  day BIGINT NOT NULL, policy_domain TEXT NOT NULL, result_key TEXT NOT NULL, policy_key TEXT NOT NULL,
  is_failure BIGINT NOT NULL, detail TEXT NOT NULL, session_count BIGINT NOT NULL,
  PRIMARY KEY (day, policy_domain, result_key)
);
-- One row per report, so that of many agents exactly one sends it. state: claimed, sent, none (nobody asked for it).
CREATE TABLE tls_report (
  day BIGINT NOT NULL, policy_domain TEXT NOT NULL, state TEXT NOT NULL, lease_until BIGINT NOT NULL,
  attempt_count BIGINT NOT NULL, sent_at BIGINT, PRIMARY KEY (day, policy_domain)
);
