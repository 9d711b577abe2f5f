#!/usr/bin/env python3
"""An independent producer of our Avro and an independent reader of our dead letters, around `postroom run`.

Publishes a small blog, written by hand from the schemas, through an Apache Kafka: old and new versions, both framings.
Between the events stand records that nobody can read. Afterwards the tables hold what the blog says, and each unreadable
record lies in the dead-letter topic of each group that wanted it: key, value, headers and timestamp byte for byte.
"""

import json
import pathlib
import sqlite3
import sys
import tempfile
import time
import uuid

import arguments
from checks import Checks
from cluster import Cluster, Sent, facts, letter_problems, wait_until
from service import Postroom, member_config
from wire import Schemas, cloud_event_headers

TOPICS = ["blog.posts", "blog.comments", "blog.users"]
GROUPS = ["postroom.project", "postroom.notify"]
NOON = round(time.time() * 1000) - 60_000


def config(kafka, folder):
    return member_config(kafka, folder)


class Blog:
    """The producer: events by hand, framed by hand."""

    def __init__(self, sent):
        self.schemas = Schemas()
        self.sent = sent
        self.clock = NOON

    def event(self, kind, key, topic, version=None, form="frame", **fields):
        self.clock += 1000
        event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}/{self.clock}"))
        schema = self.schemas.of(kind, version)
        filled = {"event_id": event_id, "blog": "peer", "occurred_at": self.clock, **fields}
        headers = cloud_event_headers(kind, event_id, self.clock)
        if form == "frame":
            value = schema.framed(filled)
        else:
            value = schema.datum(filled)
            headers.append(schema.guid_header())
        return topic, key.encode(), value, headers, self.clock

    def publish(self, *args, **fields):
        return self.sent.send(*self.event(*args, **fields))

    def poison(self, reasons, value, key=b"post-1", headers=None, topic="blog.comments", kind="comment.created"):
        """A record that nobody can read, with headers that are easily lost on the way."""
        self.clock += 1000
        if headers is None:
            headers = cloud_event_headers(kind, f"poison-{self.clock}", self.clock)
        odd = [("odd", b"one"), ("odd", b"two"), ("nothing", None), ("empty", b""), ("bytes", b"\xff\x00\xfe")]
        return self.sent.send(topic, key, value, headers + odd, self.clock, reasons=reasons)


def publish_all(blog):
    """A blog of three posts and six comments; returns the records that are poison."""
    for name in ("ada", "ben", "cyd"):
        blog.publish("user.registered", name, "blog.users", user_id=name, name=name.title(), email=f"{name}@example.org")
    for number, (version, form) in enumerate([(1, "frame"), (None, "frame"), (None, "guid")], 1):
        fields = {"post_id": f"post-{number}", "author": "ada", "title": f"Post {number}", "slug": f"p/{number}"}
        blog.publish("post.published", f"post-{number}", "blog.posts", version=version, form=form, **fields)
    blog.sent.flush()

    def comment(number, post, author, **how):
        fields = {"comment_id": f"comment-{number}", "post_id": post, "author": author}
        return blog.publish("comment.created", post, "blog.comments", body="Grüße 👋", **fields, **how)

    poison = []
    comment(1, "post-1", "ben", version=1)
    poison.append(blog.poison({"undecodable"}, b""))
    poison.append(blog.poison({"undecodable"}, b"\x07\x00\x00\x00\x01rest"))
    poison.append(blog.poison({"undecodable"}, b'{"type":"comment_created"}'))
    comment(2, "post-1", "cyd", form="guid")
    poison.append(blog.poison({"undecodable"}, b"\x00\x00\x01"))
    poison.append(blog.poison({"unknown_schema"}, b"\x00" + blog.schemas.unused_id().to_bytes(4, "big") + b"\x02a"))
    unknown = [("__value_schema_id", b"\x01" + uuid.UUID(int=7).bytes)]
    poison.append(blog.poison({"unknown_schema"}, b"\x02a", headers=cloud_event_headers("comment.created", "g", NOON) + unknown))
    _, _, whole, _, _ = blog.event(
        "comment.created", "post-1", "blog.comments", comment_id="comment-x", post_id="post-1", author="ben", body="cut"
    )
    for length in sorted({5, 6, 7, 20, len(whole) // 2, len(whole) - 30, len(whole) - 2, len(whole) - 1}):
        poison.append(blog.poison({"undecodable"}, whole[:length]))
    poison.append(blog.poison({"undecodable"}, whole + b"\x00"))
    poison.append(blog.poison({"undecodable"}, whole + b"rest" * 100, key=None))
    poison.append(blog.poison({"unknown_schema"}, b"\x00" * 100_000, key=b""))
    comment(3, "post-1", "ben")
    comment(4, "post-2", "cyd")
    comment(5, "post-2", "ada", form="guid")
    comment(6, "post-3", "ben", version=1, form="guid")
    fields = {"comment_id": "comment-4", "post_id": "post-2", "editor": "cyd"}
    blog.publish("comment.removed", "post-2", "blog.comments", **fields)
    blog.sent.send("blog.comments", b"post-3", None, cloud_event_headers("comment.created", "tombstone", NOON), NOON)
    blog.sent.flush()
    return poison


def check_tables(checks, store):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        counts = dict(db.execute("SELECT post, comments FROM post_stats WHERE comments > 0"))
        checks.equal("comments per post", {"post-1": 3, "post-2": 1, "post-3": 1}, counts)
        authors = {a: (p, c) for a, p, c in db.execute("SELECT author, posts, comments FROM author_stats")}
        checks.equal("posts and comments per author", {"ada": (3, 1), "ben": (0, 3), "cyd": (0, 1)}, authors)
        people = dict(db.execute("SELECT id, email FROM people"))
        checks.equal("people", {n: f"{n}@example.org" for n in ("ada", "ben", "cyd")}, people)
        titles = dict(db.execute("SELECT id, title FROM posts"))
        checks.equal("posts of old and new writers", {f"post-{n}": f"Post {n}" for n in (1, 2, 3)}, titles)
        rows = db.execute("SELECT recipient, subject FROM notifications WHERE subject LIKE 'comment-%'")
        expected = {
            ("ada", "comment-1"), ("ada", "comment-2"), ("ben", "comment-2"), ("ada", "comment-3"), ("cyd", "comment-3"),
            ("ada", "comment-4"), ("cyd", "comment-5"), ("ada", "comment-6"),
        }  # fmt: skip
        checks.equal("who hears of which comment", expected, set(rows))


def check_letters(checks, cluster, poison):
    by_id = {}
    for letter in cluster.read([topic for topic in cluster.topics() if topic.startswith("dlq.")]):
        told = facts(letter)
        by_id.setdefault(told.get("id"), letter)
        expected = f"dlq.{told.get('group')}.{told.get('topic')}"
        checks.that(f"the letter {told.get('id')} lies in its topic", letter["topic"] == expected, letter["topic"])
    for group in [*GROUPS, "postroom.search"]:
        for sent in poison:
            place = f"{group}/{sent['topic']}/{sent['partition']}/{sent['offset']}"
            letter = by_id.pop(place, None)
            problems = ["there is none"] if letter is None else letter_problems(sent, letter, group)
            checks.that(f"the letter {place}, byte for byte", not problems, "\n  " + "\n  ".join(problems))
    checks.equal("no other letters", [], sorted(map(str, by_id)))


def main():
    parser = arguments.parser(__doc__)
    given = arguments.given(parser)

    checks = Checks()
    cluster = Cluster(given.kafka)
    cluster.clean()
    with tempfile.TemporaryDirectory(prefix="postroom-peer.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, config(given.kafka, folder))
        try:
            postroom.command("topics", "apply", "-c", str(postroom.config))
            wait_until("`topics apply` made the topics", lambda: set(TOPICS) <= set(cluster.topics()), 10)
            again = postroom.command("topics", "plan", "--detailed-exitcode", "-c", str(postroom.config), check=False)
            checks.equal("`topics plan` has nothing left to do", 0, again.returncode)

            member = postroom.start("member")
            wait_until("the member is ready", member.ready, 40)
            poison = publish_all(Blog(Sent(cluster.producer())))
            for group in GROUPS:
                cluster.wait_for(group, TOPICS, 60)

            status = member.status()
            checks.that("the status is JSON with the groups", all(group in json.dumps(status) for group in GROUPS))
            check_letters(checks, cluster, poison)
            checks.equal("SIGTERM drains and ends with 0", 0, member.terminate())
            check_tables(checks, folder / "postroom.db")
        except (RuntimeError, TimeoutError, AssertionError) as error:
            checks.that("the run went through", False, f"{error}\n{postroom.members[-1].tail() if postroom.members else ''}")
        finally:
            postroom.stop_all()
    sys.exit(checks.close(given.output))


if __name__ == "__main__":
    main()
