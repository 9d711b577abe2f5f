-- Webhook subscriptions. secrets and types hold one value a line, the newest secret first; no type: all.
-- failing_since: since when every attempt has failed; failed_at: when the last one did; null where the last one succeeded.
CREATE TABLE webhooks (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    url TEXT NOT NULL,
    secrets TEXT NOT NULL,
    types TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    disabled_at BIGINT,
    disabled_why TEXT,
    failing_since BIGINT,
    failed_at BIGINT
);

-- The outbox: requests that wait until they are carried out. Times are milliseconds since the Unix epoch.
--
-- kind: mail or webhook; addressee: the recipient or the endpoint. Of an addressee at most one row is its head, in the
-- order of ids; the others are queued behind it, so that what is due is found without looking at what is blocked.
-- state: 0 queued; heads: 1 waiting, 2 taken by a relay, 3 out, 4 without an address; 5 out and no longer waited for;
-- 6 closed. due: from when on a waiting row is due; until when a row is taken or out; when it was parked or closed.
-- ending: 0 done, 1 withdrawn, 2 dead.
--
-- unsettled: the row was added, or is no longer the head, and nobody has looked yet whether its addressee needs another
-- head. Only a relay makes heads, one at a time, so that nobody else ever waits for somebody's queue.
CREATE TABLE requests (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    request TEXT COLLATE "C" NOT NULL UNIQUE,
    kind TEXT COLLATE "C" NOT NULL,
    addressee TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C",
    subject TEXT COLLATE "C",
    event TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    unsettled BOOLEAN NOT NULL,
    due BIGINT NOT NULL,
    not_before BIGINT NOT NULL,
    requested_at BIGINT NOT NULL,
    ending BIGINT,
    reply TEXT
);
CREATE INDEX requests_by_state ON requests (state, kind, due, id);
CREATE INDEX requests_by_event ON requests (event);
CREATE UNIQUE INDEX requests_heads ON requests (kind, addressee) WHERE state BETWEEN 1 AND 4;
CREATE INDEX requests_queued ON requests (kind, addressee, id) WHERE state = 0;
CREATE INDEX requests_unsettled ON requests (state, due) WHERE unsettled;

-- The ledger: who may carry a request out, and whether it was done. Also of requests that the outbox does not know,
-- such as one that somebody else published. owner is null where nobody holds it.
CREATE TABLE ledger (
    request TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    attempts BIGINT NOT NULL,
    owner TEXT COLLATE "C",
    held_until BIGINT,
    done BOOLEAN NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE INDEX ledger_by_age ON ledger (changed_at);

-- ended_at is null while it runs, and for ever where it ended without a word.
CREATE TABLE request_attempts (
    request TEXT COLLATE "C" NOT NULL,
    attempt BIGINT NOT NULL,
    began_at BIGINT NOT NULL,
    ended_at BIGINT,
    reply TEXT,
    PRIMARY KEY (request, attempt)
);
CREATE INDEX request_attempts_by_age ON request_attempts (began_at);

-- notify: whom it may write to. As people, but its own, because it keeps its own position.
CREATE TABLE contacts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    since BIGINT NOT NULL,
    created_by TEXT COLLATE "C",
    name TEXT,
    email TEXT,
    subscribed BOOLEAN,
    locale TEXT,
    content_time BIGINT NOT NULL
);

-- People who are gone: what is kept of their subscriptions goes after a while.
CREATE INDEX contacts_gone ON contacts (id) WHERE state IN (2, 3);

-- notify: what a mail says of a post.
CREATE TABLE thread_posts (
    post TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    title TEXT,
    slug TEXT,
    format TEXT,
    text TEXT,
    time BIGINT NOT NULL
);

-- notify: events that mail may be written about, until a time. Of posts the text is that of the thread.
CREATE TABLE mail_sources (
    event TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    blog TEXT NOT NULL,
    post TEXT COLLATE "C",
    comment TEXT COLLATE "C",
    author TEXT COLLATE "C",
    format TEXT,
    text TEXT,
    time BIGINT NOT NULL,
    until BIGINT NOT NULL
);
CREATE INDEX mail_sources_by_age ON mail_sources (until);

-- notify: events that endpoints are told of, in the order of their arrival. Endpoints up to the cursor were looked at;
-- null: all of them.
CREATE TABLE webhook_fan_outs (
    arrival BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event TEXT COLLATE "C" NOT NULL UNIQUE,
    type TEXT NOT NULL,
    blog TEXT NOT NULL,
    body TEXT NOT NULL,
    time BIGINT NOT NULL,
    arrived_at BIGINT NOT NULL,
    expanded_to TEXT COLLATE "C"
);
CREATE INDEX webhook_fan_outs_open ON webhook_fan_outs (arrival) WHERE expanded_to IS NOT NULL;
CREATE INDEX webhook_fan_outs_by_age ON webhook_fan_outs (arrived_at);

-- What one event caused is asked for by people.
CREATE INDEX notifications_by_event ON notifications (event);

-- search: posts and comments as they are found. kind: 0 post, 1 comment; state as in posts.
-- author_key and tag_keys are what filters compare with. The text of a stub is kept as it was written, until its creation
-- tells the format; else without its mark-up.
-- lexemes are the words of those that are alive, cut by us: title with weight A, tags with B, body with D. spaced are the
-- same words in their order, with a blank around each: phrases are looked up there, for a tsvector knows neither places
-- beyond 16,383 nor more than 256 of a word.
CREATE TABLE documents (
    number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    since BIGINT NOT NULL,
    created_by TEXT COLLATE "C",
    post TEXT COLLATE "C",
    author TEXT COLLATE "C",
    author_key TEXT COLLATE "C",
    title TEXT,
    slug TEXT,
    section TEXT,
    tags TEXT,
    tag_keys TEXT[] COLLATE "C",
    format TEXT,
    body TEXT,
    is_cut BOOLEAN NOT NULL,
    time BIGINT,
    content_time BIGINT NOT NULL,
    lexemes TSVECTOR,
    spaced TEXT COLLATE "C",
    UNIQUE (kind, id)
);
CREATE INDEX documents_by_author ON documents (author_key, time) WHERE state = 1;
CREATE INDEX documents_by_time ON documents (time) WHERE state = 1;
CREATE INDEX documents_by_word ON documents USING gin (lexemes) WHERE state = 1;

-- thumbnails: what was made of which picture. One row an upload, in the order in which they were made.
CREATE TABLE thumbnails (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event TEXT COLLATE "C" NOT NULL UNIQUE,
    object_key TEXT COLLATE "C" NOT NULL,
    sha256 TEXT NOT NULL,
    post TEXT COLLATE "C",
    media_type TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    placeholder TEXT NOT NULL,
    time BIGINT NOT NULL
);
CREATE INDEX thumbnails_by_object ON thumbnails (object_key, time);

-- Their files, named as in the object store.
CREATE TABLE thumbnail_files (
    thumbnail BIGINT NOT NULL REFERENCES thumbnails (id),
    name TEXT COLLATE "C" NOT NULL,
    media_type TEXT NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    PRIMARY KEY (thumbnail, name)
);
