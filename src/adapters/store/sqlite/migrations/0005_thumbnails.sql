-- thumbnails: what was made of which picture. One row an upload, in the order in which they were made.
CREATE TABLE thumbnails (
    id INTEGER PRIMARY KEY,
    event TEXT NOT NULL UNIQUE,
    object_key TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    post TEXT,
    media_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    placeholder TEXT NOT NULL,
    time INTEGER NOT NULL
) STRICT;
CREATE INDEX thumbnails_by_object ON thumbnails (object_key, time);

-- Their files, named as in the object store.
CREATE TABLE thumbnail_files (
    thumbnail INTEGER NOT NULL REFERENCES thumbnails (id),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (thumbnail, name)
) STRICT, WITHOUT ROWID;
