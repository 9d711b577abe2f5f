#!/usr/bin/env python3
"""A rolling restart under load on Apache Kafka: three members on one store are stopped by SIGTERM and started again, one
after another, while a paced producer keeps the run going. Once with static members (`kafka.instance_id`), once with dynamic
ones, and with `--protocols classic,consumer` once each under the classic protocol and under KIP-848.

Counted are the generations that the coordinator wrote into its own topic, which shares no code with Postroom; the partitions
that moved, by the members' metrics; and the rebalances that their logs tell. The stall of a partition is the longest time for
which a record lay acknowledged in it and its position stood still, by triggers in the store and the producer's
acknowledgements. Afterwards the tables equal an independent serial count: nothing is lost, doubled or out of order.
"""

import collections
import json
import pathlib
import re
import struct
import sys
import tempfile
import time

import sqlite3

import arguments
import sample
from checks import Checks
from cluster import Cluster, wait_until
from confluent_kafka import Consumer, TopicPartition
from e2e_members import GROUPS, HISTORY, TOPICS, Publisher, Sampler, check_history, check_letters, reader
from service import Postroom, member_config

MEMBERS = ("ada", "ben", "cay")
SESSION = 20.0
SERIES = re.compile(r'^postroom_rebalances_total\{(.*)\} (\d+)$', re.MULTILINE)


class Generations:
    """The coordinator's own record of a group: a generation, or an epoch, for each time that it shared the partitions out."""

    def __init__(self, address):
        self.address = address

    def of(self, group):
        seen = []
        for key, value in self.records():
            version, = struct.unpack_from(">h", key)
            if version not in (2, 3) or text(key, 2) != group:
                continue
            if value is None:  # the group was deleted: one of the same name begins anew
                seen.clear()
                continue
            if version == 2:  # classic: version, protocol type, generation
                generation, = struct.unpack_from(">i", value, 4 + len(text(value, 2).encode()))
            else:  # KIP-848: version, epoch
                generation, = struct.unpack_from(">i", value, 2)
            if generation not in seen:
                seen.append(generation)
        return seen

    def records(self):
        settings = {"bootstrap.servers": self.address, "group.id": "peer.reader", "enable.auto.commit": False}
        consumer = Consumer(settings)
        try:
            known = consumer.list_topics("__consumer_offsets", timeout=10).topics["__consumer_offsets"].partitions
            places = [TopicPartition("__consumer_offsets", partition, 0) for partition in known]
            ends = {place.partition: consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
            for place in places:
                consumer.assign([place])
                next_offset = 0
                while next_offset < ends[place.partition]:
                    message = consumer.poll(10)
                    if message is None:
                        break  # what is left are markers
                    if message.error() is None:
                        next_offset = message.offset() + 1
                        if message.key():
                            yield message.key(), message.value()
        finally:
            consumer.close()


def text(data, at):
    length, = struct.unpack_from(">h", data, at)
    return data[at + 2 : at + 2 + length].decode()


class Arrivals:
    """When the broker acknowledged each record."""

    def __init__(self, sent):
        self.at = {}
        send = sent.send

        def noted(*words, **facts):
            entry = send(*words, **facts)
            self.pending.append(entry)
            self.collect()
            return entry

        self.pending = collections.deque()
        sent.send = noted

    def collect(self):
        while self.pending and "offset" in self.pending[0]:
            entry = self.pending.popleft()
            self.at[entry["topic"], entry["partition"], entry["offset"]] = time.time()


def rebalances(members):
    """kind -> how often the members that run were given or lost partitions, over all groups."""
    counts = collections.Counter()
    for member in members:
        for labels, count in SERIES.findall(member.get("/metrics")):
            counts[re.search(r'kind="(\w+)"', labels)[1]] += int(count)
    return counts


def told(member):
    """How many rebalances the log of a member tells."""
    return member.log.read_text(errors="replace").count('"rebalanced"')


def stalls(store, arrivals, since, until):
    """(group, topic, partition) -> the longest time within a span that a record waited while the position stood still."""
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as db:
        moves = db.execute(
            "SELECT consumer_group, topic, partition, coalesce(old_next, 0), coalesce(new_next, 0), at FROM peer_history"
            " WHERE new_next IS NOT old_next ORDER BY n"
        ).fetchall()
    last, longest = {}, {}
    for group, topic, partition, old_next, _, at in moves:
        place = (group, topic, partition)
        arrived = arrivals.at.get((topic, partition, old_next))
        begin = max(last.get(place, 0.0), arrived or at)
        last[place] = at
        if since <= at and begin <= until:
            longest[place] = max(longest.get(place, 0.0), at - begin)
    return longest


def roll(postroom, members, environment, absence, tell):
    """Restarts each member in turn; returns what the others noticed meanwhile, and how long each was away."""
    noticed, away = collections.Counter(), []
    for name in MEMBERS:
        others = [members[other] for other in MEMBERS if other != name]
        before = rebalances(others)
        lines = sum(map(told, others))
        begin = time.monotonic()
        code = members[name].terminate()
        if code != 0:
            raise RuntimeError(f"{name} ended with {code}\n{members[name].tail()}")
        stopped = time.monotonic()
        time.sleep(absence)  # what a scheduler takes to start a pod
        members[name] = postroom.start(name, **environment(name))
        wait_until(f"{name} is ready again", members[name].ready, 60)
        wait_until(f"{name} has partitions again", lambda: owns(members[name]), 60)
        back = time.monotonic()
        away.append(back - begin)
        # Who joins late may cause a second rebalance: it belongs to this member.
        time.sleep(2.0)
        after = rebalances(others)
        noticed += after - before
        noticed["told"] += sum(map(told, others)) - lines
        tell(f"{name} stopped within {stopped - begin:.1f} s, had partitions after {back - begin:.1f} s; others: {dict(after - before)}")
    return noticed, away


def owns(member):
    groups = [group for group in member.status()["groups"] if group["group"] in GROUPS]
    return len(groups) == len(GROUPS) and all(group["partitions"] for group in groups)


def one_round(checks, given, protocol, static):
    name = f"{protocol}, {'static' if static else 'dynamic'}"
    cluster = Cluster(given.kafka)
    cluster.clean()
    begin = time.monotonic()

    def tell(what):
        print(f"{name}: {time.monotonic() - begin:6.1f} s  {what}", flush=True)

    def environment(member):
        more = {"POSTROOM_KAFKA__PROTOCOL": protocol}
        return {**more, "POSTROOM_KAFKA__INSTANCE_ID": member} if static else more

    with tempfile.TemporaryDirectory(prefix="postroom-rolling.") as folder:
        folder = pathlib.Path(folder)
        postroom = Postroom(given.postroom, folder, member_config(given.kafka, folder, SESSION))
        store = folder / "postroom.db"
        try:
            postroom.command("topics", "apply", "-c", str(postroom.config))
            members = {member: postroom.start(member, **environment(member)) for member in MEMBERS}
            for member in members.values():
                wait_until(f"{member.name} is ready", member.ready, 60)
            for member in members.values():
                wait_until(f"{member.name} has partitions", lambda m=member: owns(m), 60)
            with sqlite3.connect(store, timeout=10) as db:
                db.executescript(HISTORY)
            generations = Generations(given.kafka)
            publisher = Publisher(cluster, given.path, given.seconds)
            arrivals = Arrivals(publisher.sent)
            sampler = Sampler(cluster, reader(store))
            calm = time.time()
            publisher.start()
            sampler.start()
            publisher.reach(0.2)
            settled = {group: generations.of(group) for group in GROUPS}
            rolling = time.time()
            noticed, away = roll(postroom, members, environment, given.absence, tell)
            checks.that(f"{name}: the load lasted over the whole restart", publisher.done < 1.0, f"{publisher.done}")
            over = time.time()
            rolled = {group: generations.of(group) for group in GROUPS}
            publisher.join(given.seconds + 60)
            if publisher.error:
                raise publisher.error
            arrivals.collect()
            for group in GROUPS:
                cluster.wait_for(group, TOPICS, 90)
            for member in members.values():
                checks.equal(f"{name}: SIGTERM: {member.name} ends with 0", 0, member.terminate())
            sampler.over.set()
            sampler.join(30)
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that(f"{name}: the run went through", False, f"{error}\n{logs}")
            return None
        finally:
            postroom.stop_all()

        checks.equal(f"{name}: no commit was ahead of finished work", [], sampler.ahead(publisher.poison)[:5])
        check_history(checks, reader(store), publisher.sent.records)
        check_letters(checks, cluster, publisher.poison)
        for table, (expected, found) in sample.tables(given.path, store).items():
            checks.equal(f"{name}: {table} equals the serial count", expected, found)

        shared_out = {group: len(rolled[group]) - len(settled[group]) for group in GROUPS}
        during, before = stalls(store, arrivals, rolling, over), stalls(store, arrivals, calm, rolling)
        worst = max(shared_out.values())
        if static:
            checks.that(f"{name}: at most one rebalance per member", worst <= len(MEMBERS), str(shared_out))
        else:
            checks.that(f"{name}: the coordinator's rebalances are seen at all", worst > 0, str(shared_out))
        return {
            "rebalances": shared_out,
            "others_noticed": dict(noticed),
            "away_seconds": [round(seconds, 1) for seconds in away],
            "stall_seconds": spread(during),
            "stall_seconds_before": spread(before),
            "records": len(publisher.sent.records),
        }


def spread(longest):
    values = sorted(longest.values())
    if not values:
        return {}
    return {"partitions": len(values), "median": round(values[len(values) // 2], 2), "worst": round(values[-1], 2)}


def main():
    parser = arguments.with_events(arguments.parser(__doc__))
    parser.add_argument("--seconds", type=float, default=40, help="how long the producer takes, each time")
    parser.add_argument("--protocols", default="classic", help="classic, consumer, or both with a comma")
    parser.add_argument("--membership", default="static,dynamic", help="static, dynamic, or both with a comma")
    parser.add_argument("--absence", type=float, default=0, help="how long a member that was stopped stays away, in seconds")
    given = arguments.given(parser)

    checks, figures = Checks(), {}
    for protocol in given.protocols.split(","):
        for membership in given.membership.split(","):
            figures[f"{protocol}, {membership}"] = one_round(checks, given, protocol, membership == "static")
    for name, found in figures.items():
        print(f"{name}: {json.dumps(found)}", flush=True)
    sys.exit(checks.close(given.output, figures=figures))


if __name__ == "__main__":
    main()
