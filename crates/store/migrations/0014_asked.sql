-- asked_at: when somebody last asked that it be tried now. That try is made although its hosts are being left alone.
ALTER TABLE delivery ADD COLUMN asked_at BIGINT NOT NULL DEFAULT 0;
