#!/usr/bin/env python3
"""Mail through Apache Kafka and a real SMTP server: many subscribers of one post, members that are killed, a relay that is away.

First every subscriber is to get one mail of a new post, at a set rate, while two members are killed with SIGKILL and come
back: nobody is left out, and who gets two gets them under one Message-ID and only because a kill fell between the server's
acceptance and our ledger. Then the relay is away: nothing is dead-lettered, other groups are not slowed, and afterwards all
mail is delivered once.
"""

import pathlib
import random
import sys
import tempfile
import threading
import time

import wire
import arguments
from checks import Checks
from cluster import Cluster, Sent, wait_until
from service import Postroom, member_config
from smtp import Sink

DAY = 86_400_000


def config(kafka, folder, sink, rate):
    return member_config(kafka, folder) + f"""
[mail]
relay = "{sink.address}"
security = "plaintext"
from = "Harbour Notes <notes@blog.example>"
link = "https://blog.example/{{slug}}"
unsubscribe = "https://blog.example/unsubscribe?who={{recipient}}&what={{reason}}"
rate = {rate}

[effects.mail]
concurrency = {CONCURRENCY}
"""


CONCURRENCY = 32


class Blog:
    """Publishes events as an independent producer."""

    def __init__(self, cluster):
        self.schemas = wire.Schemas()
        self.sent = Sent(cluster.producer())

    def publish(self, kind, topic, key, event_id, at, **fields):
        schema = self.schemas.of(kind)
        datum = {"event_id": event_id, "blog": "harbour", "occurred_at": at, **fields}
        headers = wire.cloud_event_headers(kind, event_id, at)
        self.sent.send(topic, key.encode(), schema.framed(datum), headers, round(time.time() * 1000))

    def register(self, user, at, subscribed):
        fields = {"user_id": user, "name": user.title(), "email": f"{user}@readers.example", "subscribed": subscribed}
        self.publish("user.registered", "blog.users", user, f"registered-{user}", at, **fields)

    def post(self, post, author, at):
        fields = {"post_id": post, "author": author, "title": f"About {post}", "slug": f"posts/{post}", "format": "markdown"}
        self.publish("post.published", "blog.posts", post, f"published-{post}", at, body="Once upon a *time*.", **fields)

    def comment(self, comment, post, author, at):
        fields = {"comment_id": comment, "post_id": post, "author": author, "slug": f"posts/{post}#{comment}"}
        self.publish("comment.created", "blog.comments", post, f"created-{comment}", at, body="Well said.", **fields)


class Watcher(threading.Thread):
    """The largest resident memory of any member, in MiB."""

    def __init__(self, postroom):
        super().__init__(daemon=True)
        self.postroom, self.largest, self.over = postroom, 0.0, threading.Event()

    def run(self):
        while not self.over.wait(0.2):
            for member in self.postroom.members:
                try:
                    status = pathlib.Path(f"/proc/{member.process.pid}/status").read_text()
                    pages = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
                    self.largest = max([self.largest, *(int(kib) / 1024 for kib in pages)])
                except OSError:
                    pass


def dead_letters(cluster):
    ends = cluster.ends([topic for topic in cluster.topics() if topic.startswith("dlq.")])
    return sum(ends.values())


def subscribers(checks, cluster, postroom, sink, blog, given, tell):
    """One post, many subscribers, two kills."""
    now = round(time.time() * 1000)
    for number in range(given.subscribers):
        # Registered long ago: nobody is greeted any more.
        blog.register(f"reader{number:06d}", now - 30 * DAY, True)
    blog.register("author", now - 30 * DAY, False)
    blog.sent.flush()
    members = {name: postroom.start(name) for name in ("one", "two")}
    for member in members.values():
        wait_until(f"{member.name} is ready", member.ready, 60)
    cluster.wait_for("postroom.notify", ["blog.users"], 300)
    tell(f"{given.subscribers} subscribers are known")
    begin = time.monotonic()
    blog.post("the-harbour", "author", now)
    blog.sent.flush()

    kills = 0
    for share, name in ((0.3, "one"), (0.6, "two")):
        # A group that looks stuck is told by its numbers.
        wait_until(f"{share:.0%} of the mails arrived", lambda: sink.count() >= share * given.subscribers, given.patience)
        members[name].kill()
        kills += 1
        tell(f"{name} was killed with SIGKILL after {sink.count()} mails")
        members[name] = postroom.start(f"{name}-again")
    wait_until("every subscriber has a mail", lambda: sink.distinct() >= given.subscribers, given.patience)
    took = time.monotonic() - begin
    tell(f"{sink.count()} mails arrived, {sink.distinct()} different ones")
    # A mail whose sender was killed is sent again when its reservation ends.
    cluster.wait_for("postroom.mail", ["blog.mail"], 120)

    got = {}
    for mail in list(sink.mails):
        got.setdefault(mail["to"][0], []).append(mail["id"])
    expected = {f"reader{number:06d}@readers.example" for number in range(given.subscribers)}
    checks.equal("exactly the subscribers got mail, not the author", (0, 0), (len(expected - got.keys()), len(got.keys() - expected)))
    checks.equal("who got more than one got the same one", [], [ids for ids in got.values() if len(set(ids)) > 1][:5])
    repeats = sum(len(ids) - 1 for ids in got.values())
    checks.that("repeats stay within what was on its way at a kill", repeats <= kills * CONCURRENCY, f"{repeats} repeats")
    rate = given.subscribers / took
    checks.that("the rate was kept", rate <= given.rate * 2 * 1.05, f"{rate:.0f}/s by two members of {given.rate}/s")
    checks.equal("no dead letters", 0, dead_letters(cluster))
    return {"subscribers": given.subscribers, "repeats": repeats, "mails_per_second": round(rate), "seconds": round(took)}


def of_the_quay(sink):
    return [mail for mail in list(sink.mails) if str(mail["headers"]["X-Postroom-Event"]).startswith("created-quay-")]


def relay_away(checks, cluster, postroom, sink, blog, given, tell):
    """The relay is away while comments are written."""
    before = sink.count()
    sink.away()
    now = round(time.time() * 1000)
    people = [f"writer{number}" for number in range(20)]
    for person in people:
        blog.register(person, now - 30 * DAY, False)
    blog.post("the-quay", "author", now - 30 * DAY)
    blog.sent.flush()
    cluster.wait_for("postroom.notify", ["blog.users", "blog.posts"], 60)
    tell("the relay is away")
    end, number, worst = time.monotonic() + given.away, 0, 0.0
    random.seed(1)
    expected = set()
    taken_part = []
    while time.monotonic() < end or number < 40:
        person = random.choice(people)
        comment = f"quay-{number}"
        blog.comment(comment, "the-quay", person, round(time.time() * 1000))
        expected |= {(f"{who}@readers.example", comment) for who in {*taken_part, "author"} - {person}}
        taken_part.append(person)
        number += 1
        blog.sent.flush()
        started = time.monotonic()
        cluster.wait_for("postroom.project", ["blog.comments"], 30)
        worst = max(worst, time.monotonic() - started)
        time.sleep(max(0.0, given.away / 60 - (time.monotonic() - started)) if number < 60 else 1.0)
    checks.equal("nothing arrived meanwhile", before, sink.count())
    checks.equal("nothing was dead-lettered meanwhile", 0, dead_letters(cluster))
    checks.that("another group kept up meanwhile", worst < 10, f"{worst:.1f} s behind")
    sink.back()
    tell(f"the relay is back after {number} comments")
    wait_until("all mail has arrived", lambda: len(of_the_quay(sink)) >= len(expected), 180)
    cluster.wait_for("postroom.mail", ["blog.mail"], 120)
    late = of_the_quay(sink)
    pairs = [(mail["to"][0], mail["id"]) for mail in late]
    checks.equal("each mail came once", len(expected), len(pairs))
    checks.equal("no mail came twice", len(pairs), len(set(pairs)))
    threads = {str(mail["headers"]["In-Reply-To"]) for mail in late}
    checks.equal("the discussion is one thread", 1, len(threads))
    checks.equal("no dead letters", 0, dead_letters(cluster))
    return {"away_seconds": given.away, "mails_after": len(pairs), "other_group_behind_seconds": round(worst, 2)}


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--subscribers", type=int, default=2_000)
    parser.add_argument("--rate", type=int, default=200, help="mails a second and member")
    parser.add_argument("--away", type=float, default=15, help="seconds without the relay")
    given = arguments.given(parser)
    given.patience = 120 + 4 * given.subscribers / given.rate

    checks, told = Checks(), {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    begin = time.monotonic()

    def tell(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    sink = Sink()
    sink.back()
    with tempfile.TemporaryDirectory(prefix="postroom-mail.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, config(given.kafka, folder, sink, given.rate))
        watcher = Watcher(postroom)
        try:
            postroom.command("topics", "apply", "-c", str(postroom.config))
            blog = Blog(cluster)
            watcher.start()
            told |= subscribers(checks, cluster, postroom, sink, blog, given, tell)
            told |= relay_away(checks, cluster, postroom, sink, blog, given, tell)
            told["largest_resident_mib"] = round(watcher.largest)
            checks.that("memory is bounded", watcher.largest < 256 + 64, f"{watcher.largest:.0f} MiB")
            for member in postroom.members[-2:]:
                checks.equal(f"SIGTERM: {member.name} ends with 0", 0, member.terminate())
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that("the run went through", False, f"{error}\n{logs}")
        finally:
            watcher.over.set()
            postroom.stop_all()
            sink.away()
    sys.exit(checks.close(given.output, **told))


if __name__ == "__main__":
    main()
