-- Since when every attempt at an endpoint has failed, and when the last one did; null where the last one succeeded.
ALTER TABLE webhooks ADD COLUMN failing_since INTEGER;
ALTER TABLE webhooks ADD COLUMN failed_at INTEGER;

-- When rows were written, by our clock: what is old enough goes. Those from before count from now on.
ALTER TABLE fan_outs ADD COLUMN arrived_at INTEGER NOT NULL DEFAULT 0;
UPDATE fan_outs SET arrived_at = unixepoch() * 1000;
CREATE INDEX fan_outs_by_age ON fan_outs (arrived_at) WHERE expanded_to IS NULL;
ALTER TABLE subscriptions ADD COLUMN arrived_at INTEGER NOT NULL DEFAULT 0;
UPDATE subscriptions SET arrived_at = unixepoch() * 1000;

-- People who are gone: what is kept of their subscriptions goes after a while.
CREATE INDEX contacts_gone ON contacts (id) WHERE state IN (2, 3);

CREATE INDEX notifications_by_event ON notifications (event);
CREATE INDEX notifications_by_age ON notifications (time);
