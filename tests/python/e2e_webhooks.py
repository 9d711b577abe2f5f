#!/usr/bin/env python3
"""Webhooks through Apache Kafka: a thousand endpoints, of which a third is dead, and one event after the other.

The healthy ones are served as if the dead ones were not there: some of those refuse connections, some answer 500, some take
the request and never say a word. An endpoint that says 410 is told nothing more.
"""

import base64
import json
import pathlib
import sqlite3
import sys
import tempfile
import time

import arguments
from checks import Checks
from cluster import Cluster, wait_until
from e2e_mail import Blog, Watcher, dead_letters
from endpoints import Endpoints, is_signed
from service import Postroom, free_port, member_config

SECRET = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes, ok").decode()


def config(kafka, folder):
    return member_config(kafka, folder) + f"""
[webhooks]
allow_http = true
allow_private = ["127.0.0.0/8"]
ports = "any"
"""


def subscribe(store, urls):
    """Straight into the table: a thousand commands would take their time."""
    now = round(time.time() * 1000)
    rows = [(name, url, SECRET, "comment.created", now) for name, url in urls.items()]
    with sqlite3.connect(store, timeout=20) as db:
        db.execute("DELETE FROM webhooks")
        db.executemany("INSERT INTO webhooks (id, url, secrets, types, created_at) VALUES (?, ?, ?, ?, ?)", rows)


def story(checks, cluster, postroom, store, web, given, tell):
    blog = Blog(cluster)
    member = postroom.start("member")
    wait_until("the member is ready", member.ready, 60)
    now = round(time.time() * 1000)
    at = f"http://127.0.0.1:{web.port}"
    told = {}

    def deliver(name, healthy):
        """Publishes one comment; returns the seconds until all healthy endpoints have it."""
        since = len(web.deliveries)
        begin = time.monotonic()
        blog.comment(name, "the-quay", "reader", now)
        blog.sent.flush()
        wait_until(f"{healthy} endpoints have {name}", lambda: len(web.of("well", since)) >= healthy, 120)
        return max(one["at"] for one in web.of("well", since)) - begin

    subscribe(store, {f"e{number:04d}": f"{at}/well/{number}" for number in range(given.endpoints)})
    deliver("warm-up", given.endpoints)
    clean = deliver("clean", given.endpoints)
    tell(f"all of {given.endpoints} healthy endpoints: {clean:.2f} s")

    dead = given.endpoints * 3 // 10
    refusing = f"http://127.0.0.1:{free_port()}"
    kinds = [f"{at}/mute/", f"{at}/ill/", f"{refusing}/refused/"]
    urls = {}
    for number in range(given.endpoints):
        # The dead ones lie among the others.
        base = kinds[number % 3] if number % 10 < 3 else f"{at}/well/"
        urls[f"e{number:04d}"] = f"{base}{number}"
    healthy = given.endpoints - dead
    subscribe(store, urls)
    sick = [deliver(f"sick-{number}", healthy) for number in range(3)]
    tell(f"{healthy} healthy ones beside {dead} dead ones: {', '.join(f'{one:.2f}' for one in sick)} s")
    checks.that("the mute ones were still holding on when the healthy ones were done", web.mute_open > 0, str(web.mute_open))
    told |= {"clean_seconds": round(clean, 2), "beside_dead_seconds": [round(one, 2) for one in sick]}

    well = web.of("well")
    checks.equal("every delivery is signed", [], [one["path"] for one in well if not is_signed(one, SECRET)][:5])
    pairs = [(one["path"], one["headers"]["webhook-id"]) for one in well]
    checks.equal("no healthy endpoint was told twice", len(pairs), len(set(pairs)))
    body = json.loads(well[-1]["body"])
    checks.equal("the body names the event", "comment.created", body["type"])
    checks.that("no address is told", b"@" not in well[-1]["body"], str(body))
    wait_until("an ill one was tried again", lambda: len(web.of("ill")) > len({one["path"] for one in web.of("ill")}), 60)
    tries = {}
    for one in web.of("ill"):
        tries.setdefault(one["path"], set()).add(one["headers"]["webhook-id"])
    checks.equal("a sick endpoint waits with its first delivery", [], [path for path, ids in tries.items() if len(ids) > 1][:5])
    checks.equal("no dead letters so far", 0, dead_letters(cluster))

    subscribe(store, {"alone": f"{at}/well/alone"})
    begin, since = time.monotonic(), len(web.deliveries)
    for number in range(given.events):
        blog.comment(f"row-{number:04d}", "the-quay", "reader", now)
    blog.sent.flush()
    wait_until("one endpoint has them all", lambda: len(web.of("well", since)) >= given.events, 300)
    rate = given.events / (time.monotonic() - begin)
    tell(f"{given.events} deliveries to one endpoint, one after the other: {rate:.0f}/s")
    told |= {"one_endpoint_per_second": round(rate, 1)}
    comments = [json.loads(one["body"])["data"]["comment_id"] for one in web.of("well", since)]
    checks.equal("one endpoint is told in the order of events", comments, sorted(comments))

    subscribe(store, {"gone": f"{at}/gone/1", "well": f"{at}/well/1"})
    deliver("farewell", 1)
    wait_until("the one that is gone was told", lambda: web.of("gone"), 30)
    wait_until("it is disabled", lambda: is_disabled(store, "gone"), 30)
    deliver("after", 1)
    time.sleep(2)
    checks.equal("an endpoint that answered 410 is told nothing more", 1, len(web.of("gone")))
    listed = postroom.command("webhooks", "ls", "-c", str(postroom.config)).stdout
    checks.that("the list says so and hides secrets", "410" in listed and SECRET not in listed, listed)
    # Where mute endpoints still hold on at the drain's deadline, the next owner takes over: 75 says so.
    checks.that("SIGTERM drains", member.terminate() in (0, 75))
    return told


def is_disabled(store, name):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=20) as db:
        return db.execute("SELECT disabled_at IS NOT NULL FROM webhooks WHERE id = ?", (name,)).fetchone()[0]


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument("--endpoints", type=int, default=1_000)
    parser.add_argument("--events", type=int, default=200, help="deliveries to one endpoint")
    given = arguments.given(parser)
    checks, told = Checks(), {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    begin = time.monotonic()

    def tell(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="postroom-webhooks.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, config(given.kafka, folder))
        watcher = Watcher(postroom)
        try:
            postroom.command("topics", "apply", "-c", str(postroom.config))
            watcher.start()
            told |= story(checks, cluster, postroom, folder / "postroom.db", Endpoints(), given, tell)
            told["largest_resident_mib"] = round(watcher.largest)
            checks.that("memory is bounded", watcher.largest < 256 + 64, f"{watcher.largest:.0f} MiB")
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that("the run went through", False, f"{error}\n{logs}")
        finally:
            watcher.over.set()
            postroom.stop_all()
    sys.exit(checks.close(given.output, **told))


if __name__ == "__main__":
    main()
