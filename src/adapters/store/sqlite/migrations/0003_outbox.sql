-- The outbox: requests that wait until they are carried out. Times are milliseconds since the Unix epoch.
--
-- kind: mail or webhook; addressee: the recipient or the endpoint. Of an addressee at most one row is its head, in the
-- order of ids; the others are queued behind it, so that what is due is found without looking at what is blocked.
-- state: 0 queued; heads: 1 waiting, 2 taken by a relay, 3 out, 4 without an address; 5 out and no longer waited for;
-- 6 closed. due: from when on a waiting row is due; until when a row is taken or out; when it was closed.
-- ending: 0 done, 1 withdrawn, 2 dead.
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    request TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    addressee TEXT NOT NULL,
    reason TEXT,
    subject TEXT,
    event TEXT NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    requested_at INTEGER NOT NULL,
    ending INTEGER,
    reply TEXT
) STRICT;
CREATE INDEX requests_by_state ON requests (state, kind, due);
CREATE INDEX requests_by_event ON requests (event);
CREATE UNIQUE INDEX requests_heads ON requests (kind, addressee) WHERE state BETWEEN 1 AND 4;
CREATE INDEX requests_queued ON requests (kind, addressee, id) WHERE state = 0;

-- The ledger: who may carry a request out, and whether it was done. Also of requests that the outbox does not know,
-- such as one that somebody else published. owner is null where nobody holds it.
CREATE TABLE ledger (
    request TEXT NOT NULL PRIMARY KEY,
    attempts INTEGER NOT NULL,
    owner TEXT,
    held_until INTEGER,
    done INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX ledger_by_age ON ledger (changed_at);

-- ended_at is null while it runs, and for ever where it ended without a word.
CREATE TABLE request_attempts (
    request TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER,
    reply TEXT,
    PRIMARY KEY (request, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_attempts_by_age ON request_attempts (began_at);

-- notify: whom it may write to. As people, but its own, because it keeps its own position.
CREATE TABLE contacts (
    id TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    created_by TEXT,
    name TEXT,
    email TEXT,
    subscribed INTEGER,
    locale TEXT,
    content_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- notify: what a mail says of a post.
CREATE TABLE thread_posts (
    post TEXT NOT NULL PRIMARY KEY,
    title TEXT,
    slug TEXT,
    format TEXT,
    text TEXT,
    time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- notify: events that mail may be written about, until a time. Of posts the text is that of the thread.
CREATE TABLE mail_sources (
    event TEXT NOT NULL PRIMARY KEY,
    blog TEXT NOT NULL,
    post TEXT,
    comment TEXT,
    author TEXT,
    format TEXT,
    text TEXT,
    time INTEGER NOT NULL,
    until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX mail_sources_by_age ON mail_sources (until);

-- notify: events that endpoints are told of, in the order of their arrival. Endpoints up to the cursor were looked at;
-- null: all of them.
CREATE TABLE webhook_fan_outs (
    arrival INTEGER PRIMARY KEY,
    event TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    blog TEXT NOT NULL,
    body TEXT NOT NULL,
    time INTEGER NOT NULL,
    arrived_at INTEGER NOT NULL,
    expanded_to TEXT
) STRICT;
CREATE INDEX webhook_fan_outs_open ON webhook_fan_outs (arrival) WHERE expanded_to IS NOT NULL;
CREATE INDEX webhook_fan_outs_by_age ON webhook_fan_outs (arrived_at);
