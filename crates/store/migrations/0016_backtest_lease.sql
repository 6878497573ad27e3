-- lease_until: until when the process that runs it may be silent; it renews that as long as it lives.
ALTER TABLE backtest ADD COLUMN lease_until BIGINT NOT NULL DEFAULT 0;
-- Those of one change: what runs is ended by its change.
CREATE INDEX backtest_by_change ON backtest (change_id, id);
