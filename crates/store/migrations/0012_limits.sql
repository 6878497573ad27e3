-- What limits outgoing mail, as each process sees it, for those who look at the queue.

-- line: one level of the limits that does something now. Rows that were not written again for a minute are a dead process's.
CREATE TABLE outbound_limit (
  owner TEXT NOT NULL, position BIGINT NOT NULL, line TEXT NOT NULL, written_at BIGINT NOT NULL,
  PRIMARY KEY (owner, position)
);

-- What is done or failed left the queue and need not be in the index that the agent looks through. All that a claim asks is in it,
-- so that a hundred thousand rows for one slow domain are passed over without reading them (10 ms instead of 48 on SQLite).
CREATE INDEX delivery_claimable ON delivery (next_try_at, id, recipient_domain, connector, state)
WHERE connector = '' AND state = 'due';
DROP INDEX delivery_by_due;
