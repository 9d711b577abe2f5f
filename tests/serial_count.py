#!/usr/bin/env python3
"""Counts a blog's events one after the other, to compare with what the consumers left in the store.

Written from the rules of docs/design.md and the heads of src/effects/*.rs, not from the engine: whole histories are
folded object by object, in the order of the file.

    serial_count.py [--register everybody|nobody] FILE...

prints one JSON document a file, on one line: posts, comments, authors, people, notifications and totals. Files are
JSON lines in Postroom's own format, or in that of a site export (post_published, id, in_reply_to, time).
--register adds the registrations that the file lacks, at the time of each author's first event.
"""

import argparse
import collections
import datetime
import json

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MILLISECOND = datetime.timedelta(milliseconds=1)


def milliseconds(text):
    moment = datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (moment - EPOCH) // MILLISECOND


def read(path):
    """Yields events as dictionaries with the keys kind, deed, id, event, time, who, blog, post and fields."""
    posts_of_comments = {}
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                continue
            raw = json.loads(line)
            kind, deed = raw["type"].replace("_", ".", 1).split(".")
            deed = {"deleted": "removed"}.get(deed, deed)
            if kind == "image":
                continue
            subject = raw.get(kind + "_id") or raw["id"]
            event = {
                "kind": kind,
                "deed": deed,
                "id": subject,
                "event": raw["event_id"],
                "time": milliseconds(raw.get("occurred_at") or raw["time"]),
                "who": raw.get("author") or raw.get("editor") or raw.get("user_id"),
                "blog": raw.get("blog", ""),
                "fields": raw,
            }
            if kind == "comment":
                post = raw.get("post_id") or raw.get("in_reply_to") or posts_of_comments.get(subject)
                posts_of_comments.setdefault(subject, post)
                event["post"] = post
            yield event


def missing_registrations(events, subscribed):
    first = {}
    known = {event["id"] for event in events if event["kind"] == "user" and event["deed"] == "registered"}
    for event in events:
        who = event["who"]
        if who is not None and who not in known:
            earliest, blog = first.get(who, (event["time"], event["blog"]))
            first[who] = (min(earliest, event["time"]), blog)
    for who, (time, blog) in first.items():
        yield {
            "kind": "user",
            "deed": "registered",
            "id": who,
            "event": f"registered:{blog}:{who}",
            "time": time,
            "who": who,
            "blog": blog,
            "fields": {"name": who, "subscribed": subscribed},
        }


CREATES = {"published", "created", "registered"}


class Story:
    """What one object has been through.

    In its own topic a later event has the last word. Only what came before the object was first created is judged
    by its time: a removal that is not older than the creation keeps it down, a newer update keeps its fields.
    """

    def __init__(self, fields):
        self.names = fields
        self.seen = False
        self.standing = "stub"
        self.buried_at = None
        self.born_of = None
        self.maker = None
        self.post = None
        self.values = {}
        self.written_at = None

    def tell(self, event):
        if event["deed"] in CREATES:
            self.create(event)
        elif event["deed"] == "removed":
            self.remove(event)
        elif event["deed"] == "updated":
            self.update(event)

    def create(self, event):
        if event["event"] == self.born_of:
            return
        told = self.told(event)
        if self.standing == "stub" and self.written_at is not None and self.written_at > event["time"]:
            told = {name: self.values.get(name) if self.values.get(name) is not None else told.get(name)
                    for name in self.names}
        else:
            self.written_at = event["time"]
        down = self.standing == "absent" and event["time"] <= self.buried_at
        self.standing = "removed" if down else "alive"
        self.seen = True
        self.born_of = event["event"]
        self.maker = event["who"]
        self.post = event.get("post")
        self.values = told

    def remove(self, event):
        if self.seen:
            self.standing = "removed"
        elif self.standing == "absent":
            self.buried_at = max(self.buried_at, event["time"])
        else:
            self.standing = "absent"
            self.buried_at = event["time"]

    def update(self, event):
        if self.standing in ("removed", "absent"):
            return
        if self.standing == "stub" and self.written_at is not None and self.written_at > event["time"]:
            return
        for name, value in self.told(event).items():
            if value is not None:
                self.values[name] = value
        self.written_at = event["time"]

    def told(self, event):
        told = {name: event["fields"].get(name) for name in self.names}
        if event["deed"] == "registered":
            told["subscribed"] = bool(told["subscribed"])
            told["locale"] = told["locale"] or "en"
        return told


def stories(events, kind, fields):
    found = collections.OrderedDict()
    for event in events:
        if event["kind"] == kind and (kind != "comment" or event["deed"] != "updated"):
            found.setdefault(event["id"], Story(fields)).tell(event)
    return found


def timeline(events):
    """For each user, when their subscription began and ended."""
    users = collections.defaultdict(dict)
    for event in events:
        if event["kind"] != "user":
            continue
        wish = event["fields"].get("subscribed")
        if event["deed"] == "removed":
            wish = False
        elif event["deed"] == "registered":
            wish = bool(wish)
        if wish is not None:
            users[event["id"]][event["time"]] = wish
    return users


def notifications(events):
    rows = collections.defaultdict(lambda: collections.defaultdict(dict))

    def tell(recipient, reason, subject, event):
        rows[recipient][reason].setdefault(subject, [event["event"], event["time"]])

    first_publication = {}
    for event in events:
        if event["kind"] == "post" and event["deed"] == "published":
            first_publication.setdefault(event["id"], event)

    threads = collections.defaultdict(list)
    for event in events:
        if event["kind"] == "comment" and event["deed"] == "created":
            thread = threads[event["post"]]
            hear = set(thread)
            if event["post"] in first_publication:
                hear.add(first_publication[event["post"]]["who"])
            for recipient in hear - {event["who"]}:
                tell(recipient, "comment", event["id"], event)
            thread.append(event["who"])
        elif event["kind"] == "user" and event["deed"] == "registered":
            tell(event["id"], "welcome", event["id"], event)

    for user, wishes in timeline(events).items():
        times = sorted(wishes)
        for post, event in first_publication.items():
            before = [time for time in times if time <= event["time"]]
            if before and wishes[before[-1]] and user != event["who"]:
                tell(user, "post", post, event)
    return rows


def count(events):
    posts = stories(events, "post", ("title", "slug", "section"))
    comments = stories(events, "comment", ())
    people = stories(events, "user", ("name", "email", "subscribed", "locale"))
    living = [comment for comment in comments.values() if comment.standing == "alive"]
    per_post = collections.Counter(comment.post for comment in living)
    authors = collections.defaultdict(lambda: {"posts": 0, "comments": 0, "last_activity": None})
    for comment in living:
        authors[comment.maker]["comments"] += 1
    for post in posts.values():
        if post.standing == "alive":
            authors[post.maker]["posts"] += 1
    for event in events:
        if event["kind"] in ("post", "comment") and event["who"]:
            last = authors[event["who"]]["last_activity"]
            authors[event["who"]]["last_activity"] = event["time"] if last is None else max(last, event["time"])
    # A post that only its visible comments speak of.
    for post in per_post:
        posts.setdefault(post, Story(("title", "slug", "section")))
    rows = notifications(events)
    return {
        "posts": {id: describe_post(post, per_post[id]) for id, post in posts.items()},
        "comments": {id: {"state": c.standing, "post": c.post, "author": c.maker} for id, c in comments.items()},
        "authors": dict(authors),
        "people": {id: describe_person(person) for id, person in people.items()},
        "notifications": rows,
        "totals": {
            "posts": sum(post.standing == "alive" for post in posts.values()),
            "comments": len(living),
            "people": sum(person.standing == "alive" for person in people.values()),
            "authors": len(authors),
            "notifications": sum(len(told) for reasons in rows.values() for told in reasons.values()),
        },
    }


def describe_post(post, comments):
    described = {"state": post.standing, "author": post.maker, "comments": comments}
    for name in post.names:
        # An empty path is none.
        described[name] = post.values.get(name) or None if name == "slug" else post.values.get(name)
    return described


def describe_person(person):
    values = {name: person.values.get(name) for name in person.names}
    if person.standing in ("removed", "absent"):
        values.update(email=None, subscribed=None)
    values["subscribed"] = bool(values["subscribed"])
    return {"state": person.standing, **values}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--register", choices=("everybody", "nobody"))
    parser.add_argument("files", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    for path in arguments.files:
        events = list(read(path))
        if arguments.register:
            events = list(missing_registrations(events, arguments.register == "everybody")) + events
        print(json.dumps(count(events), sort_keys=True))


if __name__ == "__main__":
    main()
