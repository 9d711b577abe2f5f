#!/usr/bin/env python3
"""What an autoscaler reads, on Apache Kafka: the age of the oldest unfinished record, and `/api/scale`.

The store is locked from outside, so that `project` holds what it has; records of known times lie in several partitions. The
lag in seconds is then the age of each partition's oldest record, second by second, and 0 when the lock is gone. `/api/scale`
tells the same number of every member, whoever holds the partitions: the records beyond the commits. KEDA finds it at the
place that `postroom export keda` names, and an error where Kafka does not answer.
"""

import json
import pathlib
import re
import sqlite3
import sys
import tempfile
import time
import urllib.error
import uuid

import yaml

import arguments
from checks import Checks
from cluster import Cluster, Sent, wait_until
from service import Postroom, member_config
from wire import Schemas, cloud_event_headers

GROUP = "postroom.project"
TOPIC = "blog.users"
SERIES = re.compile(
    r'^postroom_consumer_lag_seconds\{group="postroom\.project",partition="(\d+)",topic="blog\.users"\} (\S+)$', re.MULTILINE
)
DONE = re.compile(r'^postroom_messages_total\{[^}]*group="postroom\.project"[^}]*outcome="ok"[^}]*\} (\d+)$', re.MULTILINE)
# A report comes once a second, and its page is kept for a quarter of one.
STALE = 1.6


def publish(sent, schemas, user, at):
    event_id = str(uuid.uuid5(uuid.NAMESPACE_URL, user))
    fields = {"event_id": event_id, "blog": "peer", "user_id": user, "name": user, "occurred_at": at, "subscribed": False}
    value = schemas.of("user.registered").framed(fields)
    return sent.send(TOPIC, user.encode(), value, cloud_event_headers("user.registered", event_id, at), at)


def ages(members):
    """partition -> the age that its owner tells; who does not answer tells none."""
    told = {}
    for member in members:
        told |= {int(partition): float(value) for partition, value in SERIES.findall(member.get("/metrics"))}
    return told


def at_place(page, location):
    """What stands at a path of GJSON's: steps are parted by dots, and a dot behind a backslash is none."""
    value = json.loads(page)
    for step in re.split(r"(?<!\\)\.", location):
        value = value[step.replace("\\.", ".")]
    return value


def scale(member):
    try:
        return json.loads(member.get("/api/scale"))
    except urllib.error.HTTPError as error:
        return error.code


def story(checks, cluster, postroom, store):
    postroom.command("topics", "apply", "-c", str(postroom.config))
    members = [postroom.start(name) for name in ("one", "two")]
    for member in members:
        wait_until(f"{member.name} is ready", member.ready, 60)
    have = cluster.topics()[TOPIC]
    wait_until("every partition has an owner", lambda: len(ages(members)) == have, 60)
    checks.equal("nothing is old before anything was published", {0.0}, set(ages(members).values()))
    wait_until("nobody has anything to do", lambda: [scale(m).get(GROUP) for m in members] == [0, 0], 30)

    sent, schemas = Sent(cluster.producer()), Schemas()
    publish(sent, schemas, "warm", round(time.time() * 1000))
    sent.flush()
    cluster.wait_for(GROUP, [TOPIC], 30)

    lock = sqlite3.connect(store, timeout=10, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")
    now = round(time.time() * 1000)
    for number in range(300):
        # Later ones are younger: the oldest of a partition is its first.
        publish(sent, schemas, f"user-{number}", now - 400_000 + 1_000 * number)
    sent.flush()
    held = sent.records[1:]
    oldest = {}
    for entry in held:
        place = entry["partition"]
        oldest[place] = min(oldest.get(place, entry["timestamp"]), entry["timestamp"])
    checks.that("several partitions have records", len(oldest) > 2, str(oldest))

    def seen():
        told = ages(members)
        return all(told.get(place, 0.0) > 0.0 for place in oldest)

    wait_until("every partition tells an age", seen, 30)
    time.sleep(STALE)
    wrong = []
    for _ in range(20):
        before = time.time()
        told = ages(members)
        after = time.time()
        for place in range(have):
            first, last = (before - oldest[place] / 1000 - STALE, after - oldest[place] / 1000) if place in oldest else (0.0, 0.0)
            if not first <= told[place] <= last + 0.001:
                wrong.append((place, first, told[place], last))
        time.sleep(0.2)
    checks.equal("the lag in seconds is the age of the oldest unfinished record", [], wrong[:5])
    wait_until("both members tell the number", lambda: [scale(m)[GROUP] for m in members] == [len(held)] * 2, 30)
    checks.that("/api/scale counts what is unfinished in the whole cluster, whoever is asked", True)
    everything = scale(members[0])
    checks.that("every group has a number", all(isinstance(n, int) for n in everything.values()) and len(everything) >= 4, str(everything))
    export = postroom.command("export", "keda", "--trigger", "metrics-api", "--effects", "project", "--rate", "2").stdout
    metadata = next(yaml.safe_load_all(export))["spec"]["triggers"][0]["metadata"]
    found = at_place(members[0].get("/api/scale"), metadata["valueLocation"])
    checks.equal("KEDA finds the number at its place", len(held), found)
    checks.equal("and wants as many members as need half a minute for it", 5, -(-found // int(metadata["targetValue"])))

    lock.execute("ROLLBACK")
    lock.close()
    cluster.wait_for(GROUP, [TOPIC], 60)
    wait_until("nothing is old any more", lambda: set(ages(members).values()) == {0.0}, 30)
    wait_until("nothing is left to do", lambda: [scale(m)[GROUP] for m in members] == [0, 0], 30)
    checks.that("both are zero when the group has caught up", True)
    # One of the two has finished at least half.
    busiest = max(members, key=lambda member: sum(map(int, DONE.findall(member.get("/metrics")))))
    address = f"127.0.0.1:{busiest.port}"
    measured = postroom.command("export", "keda", "--effects", "project", "--from", address).stdout
    rate = re.search(r"# (\d+) records a second × 30 s; measured: (\d+) finished in ", measured)
    checks.that("a rate is measured", rate is not None and int(rate[2]) >= 100, measured)
    rate = rate or (0, 0, 0)
    checks.that("and makes the lag of a replica", f'lagThreshold: "{int(rate[1]) * 30}"' in measured, measured)
    checks.that("so are the partitions", f"maxReplicaCount: {have}\n" in measured, measured)
    checks.equal("healthcheck says that all is well", "ok\n", postroom.command("healthcheck", "--url", address).stdout)
    for member in members:
        checks.equal(f"SIGTERM: {member.name} ends with 0", 0, member.terminate())
    gone = postroom.command("healthcheck", "--live", "--url", address, check=False)
    checks.equal("healthcheck says that nobody answers", 69, gone.returncode)


def main():
    parser = arguments.parser(__doc__)
    given = arguments.given(parser)
    checks = Checks()
    cluster = Cluster(given.kafka)
    cluster.clean()
    with tempfile.TemporaryDirectory(prefix="postroom-scaling.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, member_config(given.kafka, folder))
        try:
            story(checks, cluster, postroom, folder / "postroom.db")
        except (RuntimeError, TimeoutError, AssertionError, OSError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that("the run went through", False, f"{error!r}\n{logs}")
        finally:
            postroom.stop_all()
    sys.exit(checks.close(given.output))


if __name__ == "__main__":
    main()
