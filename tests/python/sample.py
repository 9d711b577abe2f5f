"""The sample of a real site as records of ours, by the mapping that docs/events.md describes, written a second time."""

import datetime
import json
import time
import sqlite3
import sys

from wire import ROOT, Schemas, cloud_event_headers

PATH = ROOT.parent / "shared" / "data" / "blog-sample.jsonl"
NAMES = {
    "post_published": "post.published",
    "post_updated": "post.updated",
    "post_deleted": "post.removed",
    "comment_created": "comment.created",
    "comment_updated": "comment.updated",
    "comment_deleted": "comment.removed",
}
ALIVE, REMOVED = 1, 2


def lines(path):
    with open(path, encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


# Kafka removes records by their timestamps: history that is published today says so. `ce_time` tells when it happened.
NOW = round(time.time() * 1000)


def millis(text):
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)


def events(path):
    """(topic, key, value, headers, timestamp) and (type, id, time) of each line, behind the registrations of all who do something."""
    schemas = Schemas()
    posts = {}
    yield from registrations(schemas, path)
    for number, line in enumerate(lines(path)):
        at = millis(line["time"])
        kind = NAMES[line["type"]]
        fields = {
            "event_id": line["event_id"],
            "blog": line["blog"],
            "occurred_at": at,
            "recorded_at": millis(line["recorded_at"]),
        }
        fields |= {name: line[name] for name in ("title", "slug", "section", "format", "body", "tags", "images") if name in line}
        fields["body_bytes"] = line["body_bytes"]
        if kind.startswith("post."):
            topic, key = "blog.posts", line["id"]
            fields["post_id"] = key
        else:
            topic = "blog.comments"
            if kind == "comment.created":
                posts[line["id"]] = line["in_reply_to"]
            key = posts[line["id"]]
            fields |= {"comment_id": line["id"], "post_id": key}
        fields["author" if kind in ("post.published", "comment.created") else "editor"] = line["author"]
        yield record(schemas, kind, topic, key, fields, line["event_id"], at, number), (kind, line["id"], at)


def registrations(schemas, path):
    first = {}
    for line in lines(path):
        person = (line["blog"], line["author"])
        first[person] = min(first.get(person, float("inf")), millis(line["time"]))
    for (blog, user), at in sorted(first.items(), key=lambda entry: (entry[1], entry[0])):
        event_id = f"registered:{blog}:{user}"
        fields = {"event_id": event_id, "blog": blog, "user_id": user, "name": user, "occurred_at": at, "subscribed": False}
        yield record(schemas, "user.registered", "blog.users", user, fields, event_id, at, 0), None


def record(schemas, kind, topic, key, fields, event_id, at, number):
    """Both framings and old versions take turns."""
    versions = [version for event, version in schemas.all if event == kind]
    schema = schemas.of(kind, versions[number % len(versions)])
    known = {field["name"] for field in json.loads(schema.text)["fields"]}
    datum = {name: value for name, value in fields.items() if name in known}
    headers = cloud_event_headers(kind, event_id, at, source="/sample")
    if number % 3 == 0:
        return topic, key.encode(), schema.datum(datum), [*headers, schema.guid_header()], NOW
    return topic, key.encode(), schema.framed(datum), headers, NOW


def poison(event, number):
    """A record that nobody can read, like `event` in topic, key and headers."""
    topic, key, value, headers, at = event
    headers = [pair for pair in headers if pair[0] != "__value_schema_id"] + [("odd", b"\xff\x00"), ("odd", None)]
    bad = [b"", b"\x07" + value, b"\x00\x7f\xff\xff\xff" + value, b"\x00\x00", b"{}"][number // 100 % 5]
    return topic, key, bad, headers, at


def states(sent):
    """(kind, id) -> the (state, since) that a post or comment goes through, in the order of its topic.

    Only of those whose first event is their creation and whose times never go back: the order of their states is beyond dispute.
    """
    found, unclear = {}, set()
    for entry in sent:
        if "reasons" in entry or entry["facts"] is None:
            continue
        kind, name, at = entry["facts"]
        thing, what = kind.split(".")
        place, at = (thing, name), millis(dict(entry["headers"])["ce_time"].decode())
        known = found.setdefault(place, [])
        if what == "updated":
            continue
        state = (REMOVED if what == "removed" else ALIVE, at)
        if (not known and state[0] == REMOVED) or (known and at < known[-1][1]):
            unclear.add(place)
        if not known or known[-1] != state:
            known.append(state)
    return {place: known for place, known in found.items() if place not in unclear and known}


def tables(path, store):
    """name -> (what a serial count of the file says, what an SQLite store's tables say), cut down to what differs."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        return differences(serial_count(path), db.execute)


def serial_count(path, *more):
    """What a serial count says of the sample, and of files of events in our own format."""
    sys.path.insert(0, str(ROOT / "tests"))
    import serial_count as counter

    events = list(counter.read(path))
    events = [*counter.missing_registrations(events, False), *events, *(event for file in more for event in counter.read(file))]
    return json.loads(json.dumps(counter.count(events)))


def differences(counted, query):
    """name -> (what was counted, what the tables say), cut down to what differs. `query` runs a statement and returns rows."""
    states = ["stub", "alive", "removed", "absent"]
    found = {"posts": {}, "comments": {}, "authors": {}, "people": {}, "notifications": {}}
    nothing = {"state": "stub", "author": None, "title": None, "slug": None, "section": None}
    for name, state, author, title, slug, section in query("SELECT id, state, author, title, slug, section FROM posts"):
        found["posts"][name] = {
            "state": states[state], "author": author, "title": title, "slug": slug, "section": section, "comments": 0,
        }  # fmt: skip
    for name, comments in query("SELECT post, comments FROM post_stats WHERE comments > 0"):
        found["posts"].setdefault(name, dict(nothing))["comments"] = comments
    for name, state, post, author in query("SELECT id, state, post, author FROM comments"):
        found["comments"][name] = {"state": states[state], "post": post, "author": author}
    for name, posts, comments, last in query("SELECT author, posts, comments, last_activity FROM author_stats"):
        found["authors"][name] = {"posts": posts, "comments": comments, "last_activity": last}
    for name, state, shown, email, subscribed, locale in query(
        "SELECT id, state, name, email, subscribed, locale FROM people"
    ):
        found["people"][name] = {
            "state": states[state], "name": shown, "email": email, "subscribed": bool(subscribed), "locale": locale,
        }  # fmt: skip
    for recipient, reason, subject, event, at in query(
        "SELECT recipient, reason, subject, event, time FROM notifications"
    ):
        found["notifications"].setdefault(recipient, {}).setdefault(reason, {})[subject] = [event, at]
    return {name: difference(counted[name], found[name]) for name in found}


def difference(expected, found):
    """Both, cut down to the rows that differ; ten at most."""
    names = [name for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)][:10]
    return {name: expected.get(name) for name in names}, {name: found.get(name) for name in names}
