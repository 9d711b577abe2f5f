#!/usr/bin/env python3
"""A real schema registry (Apicurio, in Confluent's dialect) and Apache Kafka: schemas that Postroom has never seen are learnt,
one that nobody knows is a dead letter after its grace, and a registry that is away is waited for.
"""

import argparse
import json
import os
import pathlib
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import wire
from checks import Checks
from cluster import Cluster, Sent, facts, wait_until
from service import Postroom, free_port, member_config

UNKNOWN = 987_654


class Registry:
    """Apicurio from its distribution; what it knows is in memory, so it is frozen and not killed."""

    def __init__(self, folder, log):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/apis/ccompat/v7"
        jar = next(pathlib.Path(folder).glob("apicurio-registry-app-*-runner.jar"))
        words = ["java", "-Xmx384m", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={self.port}", "-jar", str(jar)]
        self.process = subprocess.Popen(words, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def ready(self):
        try:
            return urllib.request.urlopen(f"{self.url}/subjects", timeout=5).status == 200
        except OSError:
            return False

    def register(self, subject, schema, references=()):
        body = json.dumps({"schema": schema, "references": list(references)}).encode()
        asked = urllib.request.Request(f"{self.url}/subjects/{subject}/versions", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(asked, timeout=20) as answer:
            return json.load(answer)["id"]

    def freeze(self):
        self.process.send_signal(19)

    def thaw(self):
        self.process.send_signal(18)

    def stop(self):
        self.thaw()
        self.process.terminate()
        self.process.wait(30)


def config(kafka, folder, registry):
    return member_config(kafka, folder) + f"""
[registry]
url = "{registry.url}"
timeout = "2s"
grace = "4s"
"""


def publish(sent, schema, schema_id, number):
    post = f"post-{number}"
    datum = {"event_id": f"e{number}", "blog": "b", "post_id": post, "author": "ada", "slug": post, "occurred_at": 1_700_000_000_000 + number}
    value = b"\0" + struct.pack(">I", schema_id) + schema.datum(datum)
    headers = wire.cloud_event_headers("post.published", f"e{number}", 1_700_000_000_000 + number)
    sent.send("blog.posts", post.encode(), value, headers, round(time.time() * 1000))
    sent.flush()


def posts(store):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=20) as db:
        return {row[0] for row in db.execute("SELECT id FROM posts WHERE state = 1")}


def letters(cluster):
    return [facts(one) for one in cluster.read([topic for topic in cluster.topics() if topic.startswith("dlq.")])]


def story(checks, cluster, postroom, registry, store):
    schemas = wire.Schemas()
    first, second = schemas.of("post.published", 1), schemas.of("post.published", 2)
    # Ids of a registry mean something else than those of our index: push them apart.
    for number in range(20):
        registry.register(f"padding-{number}", json.dumps({"type": "fixed", "name": f"Pad{number}", "size": number + 1}))
    one = registry.register("blog.posts-blog.PostPublished", first.text)
    checks.that("the registry's ids are not those of our index", one > 20, str(one))
    postroom.command("topics", "apply", "-c", str(postroom.config))
    member = postroom.start("member")
    wait_until("the member is ready", member.ready, 60)
    sent = Sent(cluster.producer())

    publish(sent, first, one, 1)
    wait_until("a record of an unseen schema is read", lambda: "post-1" in posts(store), 30)
    two = registry.register("blog.posts-blog.PostPublished", second.text)
    publish(sent, second, two, 2)
    wait_until("a record of a later version is read", lambda: "post-2" in posts(store), 30)
    checks.equal("no dead letters", [], letters(cluster))

    publish(sent, second, UNKNOWN, 3)
    wait_until("an id that nobody knows becomes a dead letter in every group", lambda: len(letters(cluster)) >= 3, 60)
    checks.equal("its reason", {"unknown_schema"}, {one["reason"] for one in letters(cluster)})
    before = len(letters(cluster))

    third = json.loads(second.text)
    third["fields"].append({"name": "mood", "type": ["null", "string"], "default": None})
    three = registry.register("blog.posts-blog.PostPublished", json.dumps(third))
    newer = wire.Schema.__new__(wire.Schema)
    newer.parsed = wire.fastavro.parse_schema(third)
    registry.freeze()
    publish(sent, newer, three, 4)
    time.sleep(12)
    checks.that("nothing is read while the registry is away", "post-4" not in posts(store))
    checks.equal("nothing is dead-lettered while the registry is away", before, len(letters(cluster)))
    registry.thaw()
    wait_until("it is read when the registry is back", lambda: "post-4" in posts(store), 60)
    checks.equal("nothing was dead-lettered", before, len(letters(cluster)))
    checks.equal("SIGTERM ends with 0", 0, member.terminate())
    return {}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postroom", default="target/debug/postroom", help="the binary")
    arguments.add_argument("--kafka", default=os.environ.get("POSTROOM_TEST_KAFKA"), help="bootstrap address")
    arguments.add_argument("--apicurio", default=os.environ.get("POSTROOM_TEST_APICURIO"), help="its unpacked distribution")
    arguments.add_argument("-o", "--output", choices=["text", "json"], default="text")
    given = arguments.parse_args()
    if not given.kafka or not given.apicurio:
        sys.exit("give --kafka and --apicurio, or POSTROOM_TEST_KAFKA and POSTROOM_TEST_APICURIO")
    checks, told = Checks(), {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    with tempfile.TemporaryDirectory(prefix="postroom-registry.") as name:
        folder = pathlib.Path(name)
        with (folder / "registry.log").open("wb") as log:
            registry = Registry(given.apicurio, log)
            postroom = Postroom(given.postroom, folder, config(given.kafka, folder, registry))
            try:
                wait_until("the registry answers", registry.ready, 90)
                told = story(checks, cluster, postroom, registry, folder / "postroom.db")
            except (RuntimeError, TimeoutError, AssertionError, urllib.error.URLError) as error:
                logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
                checks.that("the run went through", False, f"{error}\n{logs}")
            finally:
                postroom.stop_all()
                registry.stop()
    sys.exit(checks.close(given.output, **told))


if __name__ == "__main__":
    main()
