CREATE TABLE identity (
    id TEXT NOT NULL
) STRICT;
INSERT INTO identity (id) VALUES (lower(hex(randomblob(16))));

-- One row a partition that a group has ever claimed. next_offset is null until something was applied.
CREATE TABLE positions (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    next_offset INTEGER,
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;

CREATE TABLE attempts (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    record_offset INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    counted_at INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition, record_offset)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_by_age ON attempts (counted_at);

CREATE TABLE dedupe (
    consumer_group TEXT NOT NULL,
    id TEXT NOT NULL,
    applied_at INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX dedupe_by_age ON dedupe (applied_at);

-- project: what the blog looks like now. Times are milliseconds since the Unix epoch.
-- state: 0 stub, 1 alive, 2 removed, 3 removed before its creation came.
CREATE TABLE posts (
    id TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    created_by TEXT,
    author TEXT,
    title TEXT,
    slug TEXT,
    section TEXT,
    content_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE post_stats (
    post TEXT NOT NULL PRIMARY KEY,
    comments INTEGER NOT NULL CHECK (comments >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX post_stats_by_comments ON post_stats (comments);

CREATE TABLE comments (
    id TEXT NOT NULL PRIMARY KEY,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    created_by TEXT,
    post TEXT,
    author TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE people (
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

CREATE TABLE author_stats (
    author TEXT NOT NULL PRIMARY KEY,
    posts INTEGER NOT NULL CHECK (posts >= 0),
    comments INTEGER NOT NULL CHECK (comments >= 0),
    last_activity INTEGER
) STRICT, WITHOUT ROWID;

-- notify: who is to hear of what. Its own tables, because it keeps its own position.
CREATE TABLE notifications (
    recipient TEXT NOT NULL,
    reason TEXT NOT NULL,
    subject TEXT NOT NULL,
    event TEXT NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (recipient, reason, subject)
) STRICT, WITHOUT ROWID;

CREATE TABLE thread_authors (
    post TEXT NOT NULL PRIMARY KEY,
    author TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE thread_participants (
    post TEXT NOT NULL,
    author TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (post, author)
) STRICT, WITHOUT ROWID;

-- Comments whose post has no author yet, in the order of their arrival.
CREATE TABLE thread_waiting (
    arrival INTEGER PRIMARY KEY,
    post TEXT NOT NULL,
    comment TEXT NOT NULL,
    author TEXT NOT NULL,
    event TEXT NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX thread_waiting_by_post ON thread_waiting (post);

-- Whether new posts are announced to a user from a time on.
CREATE TABLE subscriptions (
    subscriber TEXT NOT NULL,
    since INTEGER NOT NULL,
    subscribed INTEGER NOT NULL,
    PRIMARY KEY (subscriber, since)
) STRICT, WITHOUT ROWID;

-- Those who were ever subscribed: who else registered is never looked at.
CREATE INDEX subscribers ON subscriptions (subscriber) WHERE subscribed;

-- One row a post that is announced. Subscribers up to the cursor were looked at; null: all of them.
CREATE TABLE fan_outs (
    post TEXT NOT NULL PRIMARY KEY,
    author TEXT NOT NULL,
    event TEXT NOT NULL,
    time INTEGER NOT NULL,
    expanded_to TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX fan_outs_by_time ON fan_outs (time, post);
CREATE INDEX fan_outs_open ON fan_outs (time, post) WHERE expanded_to IS NOT NULL;

-- Subscriptions that arrived after posts which they cover: one row each, until those were looked at.
CREATE TABLE catch_ups (
    arrival INTEGER PRIMARY KEY,
    subscriber TEXT NOT NULL,
    next_time INTEGER NOT NULL,
    next_post TEXT NOT NULL,
    end_time INTEGER
) STRICT;
