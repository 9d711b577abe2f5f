-- search: posts and comments as they are found. kind: 0 post, 1 comment; state as in posts.
-- author_key and tag_keys are what filters compare with: tag_keys has a newline before and after each.
-- The text of a stub is kept as it was written, until its creation tells the format; else without its mark-up.
CREATE TABLE documents (
    number INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id TEXT NOT NULL,
    state INTEGER NOT NULL,
    since INTEGER NOT NULL,
    created_by TEXT,
    post TEXT,
    author TEXT,
    author_key TEXT,
    title TEXT,
    slug TEXT,
    section TEXT,
    tags TEXT,
    tag_keys TEXT,
    format TEXT,
    body TEXT,
    is_cut INTEGER NOT NULL,
    time INTEGER,
    content_time INTEGER NOT NULL,
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX documents_by_author ON documents (author_key, time) WHERE state = 1;
CREATE INDEX documents_by_time ON documents (time) WHERE state = 1;

-- The words of those that are alive, cut by us and kept apart by spaces: the tokenizer only reads them.
CREATE VIRTUAL TABLE document_words USING fts5 (
    title, tags, body, content = '', contentless_delete = 1, tokenize = 'ascii'
);
