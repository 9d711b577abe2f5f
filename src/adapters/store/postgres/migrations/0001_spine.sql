CREATE TABLE identity (
    id TEXT NOT NULL
);
INSERT INTO identity (id) VALUES (replace(gen_random_uuid()::text, '-', ''));

-- One row a partition that a group has ever claimed. next_offset is null until something was applied. Rows are written
-- all the time: room in the page keeps them where they are.
CREATE TABLE positions (
    consumer_group TEXT COLLATE "C" NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    partition INT NOT NULL,
    epoch BIGINT NOT NULL,
    next_offset BIGINT,
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 50);

CREATE TABLE attempts (
    consumer_group TEXT COLLATE "C" NOT NULL,
    topic TEXT COLLATE "C" NOT NULL,
    partition INT NOT NULL,
    record_offset BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    counted_at BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition, record_offset)
);
CREATE INDEX attempts_by_age ON attempts (counted_at);

CREATE TABLE dedupe (
    consumer_group TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    applied_at BIGINT NOT NULL,
    PRIMARY KEY (consumer_group, id)
);
CREATE INDEX dedupe_by_age ON dedupe (applied_at);

-- project: what the blog looks like now. Times are milliseconds since the Unix epoch.
-- state: 0 stub, 1 alive, 2 removed, 3 removed before its creation came.
CREATE TABLE posts (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    since BIGINT NOT NULL,
    created_by TEXT COLLATE "C",
    author TEXT COLLATE "C",
    title TEXT,
    slug TEXT,
    section TEXT,
    content_time BIGINT NOT NULL
);

CREATE TABLE post_stats (
    post TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    comments BIGINT NOT NULL CHECK (comments >= 0)
) WITH (fillfactor = 80);
CREATE INDEX post_stats_by_comments ON post_stats (comments);

CREATE TABLE comments (
    id TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    state BIGINT NOT NULL,
    since BIGINT NOT NULL,
    created_by TEXT COLLATE "C",
    post TEXT COLLATE "C",
    author TEXT COLLATE "C"
);

CREATE TABLE people (
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

CREATE TABLE author_stats (
    author TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    posts BIGINT NOT NULL CHECK (posts >= 0),
    comments BIGINT NOT NULL CHECK (comments >= 0),
    last_activity BIGINT
) WITH (fillfactor = 80);

-- notify: who is to hear of what. Its own tables, because it keeps its own position.
CREATE TABLE notifications (
    recipient TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    time BIGINT NOT NULL,
    PRIMARY KEY (recipient, reason, subject)
);
CREATE INDEX notifications_by_age ON notifications (time);

-- One row a post that was published or commented on: who works on a thread holds it. The author is null until the post
-- comes.
CREATE TABLE thread_authors (
    post TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    author TEXT COLLATE "C"
);

CREATE TABLE thread_participants (
    post TEXT COLLATE "C" NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    PRIMARY KEY (post, author)
);

-- Comments whose post has no author yet, in the order of their arrival.
CREATE TABLE thread_waiting (
    arrival BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post TEXT COLLATE "C" NOT NULL,
    comment TEXT COLLATE "C" NOT NULL,
    author TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    time BIGINT NOT NULL
);
CREATE INDEX thread_waiting_by_post ON thread_waiting (post);

-- Whether new posts are announced to a user from a time on. arrived_at: when the row was written, by our clock.
CREATE TABLE subscriptions (
    subscriber TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    subscribed BOOLEAN NOT NULL,
    arrived_at BIGINT NOT NULL,
    PRIMARY KEY (subscriber, since)
);

-- Those who were ever subscribed: who else registered is never looked at.
CREATE INDEX subscribers ON subscriptions (subscriber) WHERE subscribed;

-- One row a post that is announced. Subscribers up to the cursor were looked at; null: all of them. arrived_at as above.
CREATE TABLE fan_outs (
    post TEXT COLLATE "C" NOT NULL PRIMARY KEY,
    author TEXT COLLATE "C" NOT NULL,
    event TEXT COLLATE "C" NOT NULL,
    time BIGINT NOT NULL,
    expanded_to TEXT COLLATE "C",
    arrived_at BIGINT NOT NULL
);
CREATE INDEX fan_outs_by_age ON fan_outs (arrived_at) WHERE expanded_to IS NULL;
CREATE INDEX fan_outs_by_time ON fan_outs (time, post);
CREATE INDEX fan_outs_open ON fan_outs (time, post) WHERE expanded_to IS NOT NULL;

-- Subscriptions that arrived after posts which they cover: one row each, until those were looked at.
CREATE TABLE catch_ups (
    arrival BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscriber TEXT COLLATE "C" NOT NULL,
    next_time BIGINT NOT NULL,
    next_post TEXT COLLATE "C" NOT NULL,
    end_time BIGINT
);

-- Empty: its lock keeps those who change subscriptions and those who expand announcements apart.
CREATE TABLE fan_out_gate (
    nothing INT
);
