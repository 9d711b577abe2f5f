-- Webhook subscriptions. secrets and types hold one value a line, the newest secret first; no type: all.
CREATE TABLE webhooks (
    id TEXT NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    secrets TEXT NOT NULL,
    types TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    disabled_at INTEGER,
    disabled_why TEXT
) STRICT, WITHOUT ROWID;
