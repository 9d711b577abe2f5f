#!/usr/bin/env python3
"""A real site's history through Apache Kafka with several members on one store, of which one is killed, one is stopped,
one is frozen past the session timeout and wakes, and some join.

A paced producer keeps the run going meanwhile. Afterwards the tables equal an independent serial count. Triggers in the store
write a history of every move of a position, and a sampler compares Kafka's commits with the positions all the time: nothing
moves backwards, no former owner moves anything, no commit is ahead. Every poison record is in its dead-letter topic.
"""

import pathlib
import signal
import sqlite3
import sys
import tempfile
import threading
import time

import arguments
import sample
from checks import Checks
from cluster import Cluster, Sent, facts, letter_problems, wait_until
from postgres import Away
from service import Postroom, member_config

GROUPS = ["postroom.project", "postroom.notify"]
TOPICS = ["blog.posts", "blog.comments", "blog.users"]
SESSION = 6.0
REASONS = {"undecodable", "unknown_schema"}

HISTORY = """
CREATE TABLE peer_history (
    n INTEGER PRIMARY KEY, consumer_group TEXT, topic TEXT, partition INTEGER,
    old_epoch INTEGER, new_epoch INTEGER, old_next INTEGER, new_next INTEGER,
    at REAL DEFAULT ((julianday('now') - 2440587.5) * 86400.0)
);
CREATE TRIGGER peer_moves AFTER UPDATE ON positions BEGIN
    INSERT INTO peer_history (consumer_group, topic, partition, old_epoch, new_epoch, old_next, new_next) VALUES
        (new.consumer_group, new.topic, new.partition, old.epoch, new.epoch, old.next_offset, new.next_offset);
END;
CREATE TABLE peer_states (n INTEGER PRIMARY KEY, kind TEXT, id TEXT, state INTEGER, since INTEGER);
CREATE TRIGGER peer_posts_made AFTER INSERT ON posts BEGIN
    INSERT INTO peer_states (kind, id, state, since) VALUES ('post', new.id, new.state, new.since);
END;
CREATE TRIGGER peer_posts_moved AFTER UPDATE OF state, since ON posts BEGIN
    INSERT INTO peer_states (kind, id, state, since) VALUES ('post', new.id, new.state, new.since);
END;
CREATE TRIGGER peer_comments_made AFTER INSERT ON comments BEGIN
    INSERT INTO peer_states (kind, id, state, since) VALUES ('comment', new.id, new.state, new.since);
END;
CREATE TRIGGER peer_comments_moved AFTER UPDATE OF state, since ON comments BEGIN
    INSERT INTO peer_states (kind, id, state, since) VALUES ('comment', new.id, new.state, new.since);
END;
"""


def config(kafka, folder):
    return member_config(kafka, folder, SESSION)


class Publisher(threading.Thread):
    """Publishes the sample at an even pace, with a poison record among every hundred events."""

    def __init__(self, cluster, path, seconds):
        super().__init__(daemon=True)
        self.sent = Sent(cluster.producer())
        self.events = list(sample.events(path))
        self.seconds = seconds
        self.poison = []
        self.done = 0.0
        self.error = None

    def run(self):
        try:
            begin = time.monotonic()
            for number, (event, told) in enumerate(self.events):
                # Brokers count retention from a record's timestamp: one of years ago could be gone at any moment.
                event = (*event[:4], round(time.time() * 1000))
                self.sent.send(*event, facts=told)
                if number % 100 == 50:
                    self.poison.append(self.sent.send(*sample.poison(event, number), reasons=REASONS))
                self.done = (number + 1) / len(self.events)
                ahead = begin + self.done * self.seconds - time.monotonic()
                if ahead > 0.01:
                    time.sleep(ahead)
            self.sent.flush()
        except Exception as error:  # told by the main thread
            self.error = error

    def reach(self, share):
        def reached():
            if self.error:
                raise self.error
            return self.done >= share

        wait_until(f"{share:.0%} are published", reached, self.seconds + 60)


class Sampler(threading.Thread):
    """Compares commits with the store's positions, again and again. The commit is read first: positions only grow."""

    def __init__(self, cluster, query):
        super().__init__(daemon=True)
        self.cluster, self.query = cluster, query
        self.beyond, self.samples, self.over = [], 0, threading.Event()

    def run(self):
        while not self.over.wait(0.05):
            for group in GROUPS:
                committed = self.cluster.committed(group)
                asked = f"SELECT topic, partition, coalesce(next_offset, 0) FROM positions WHERE consumer_group = '{group}'"
                try:
                    positions = {(topic, partition): position for topic, partition, position in self.query(asked)}
                except Away:
                    continue
                self.samples += len(committed)
                for place, offset in committed.items():
                    if offset > positions.get(place, 0):
                        self.beyond.append((group, place, offset, positions.get(place, 0)))

    def ahead(self, poison):
        """Commits beyond the store's position, but for records whose dead letter finished them."""
        finished = {(sent["topic"], sent["partition"], sent["offset"]) for sent in poison}
        return [
            (group, place, offset, position)
            for group, place, offset, position in self.beyond
            if any((*place, between) not in finished for between in range(position, offset))
        ]


def reader(store):
    """Asks an SQLite store."""

    def query(sql):
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10) as db:
            return db.execute(sql).fetchall()

    return query


def freeze_between_transactions(member, store):
    """SIGSTOP at a moment when the member holds no lock of the store: nobody could break it."""
    for _ in range(100):
        member.signal(signal.SIGSTOP)
        wait_until("all its threads stand still", member.stands_still, 5)
        db = sqlite3.connect(store, timeout=1.0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
            return
        except sqlite3.OperationalError:
            member.signal(signal.SIGCONT)
            time.sleep(0.02)
        finally:
            db.close()
    raise TimeoutError("the member held the store's lock at each of 100 moments")


def claims(store):
    with sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=10) as db:
        return db.execute("SELECT count(*) FROM peer_history WHERE new_epoch > old_epoch").fetchone()[0]


def check_history(checks, query, sent, units=False):
    """`units`: a store that writes what a unit of work comes to, so that states which one unit passes through are not seen."""
    moves = query(
        "SELECT consumer_group, topic, partition, old_epoch, new_epoch, coalesce(old_next, 0) AS before,"
        " coalesce(new_next, 0) AS after FROM peer_history ORDER BY n"
    )
    states = query("SELECT kind, id, state, since FROM peer_states ORDER BY n")
    checks.that("the history has moves of both groups", {move[0] for move in moves} >= set(GROUPS), str(len(moves)))
    wrong = [m for m in moves if not (m[3] <= m[4] <= m[3] + 1 and m[5] <= m[6] and (m[3] == m[4] or m[5] == m[6]))]
    checks.equal("no position moves back, no claim moves a position", [], wrong)
    last, skipped = {}, []
    for move in moves:
        place, (old_epoch, new_epoch, old_next, new_next) = move[:3], move[3:]
        if place in last and last[place] != (old_epoch, old_next):
            skipped.append(move)
        last[place] = (new_epoch, new_next)
    checks.equal("each move starts where the last one ended", [], skipped)
    claimed = sum(1 for m in moves if m[4] > m[3])

    told = {}
    for kind, name, state, since in states:
        known = told.setdefault((kind, name), [])
        if state in (sample.ALIVE, sample.REMOVED) and (not known or known[-1] != (state, since)):
            known.append((state, since))
    expected = sample.states(sent)
    agree = ends_like if units else list.__eq__
    out_of_order = [(name, states, told.get(name)) for name, states in expected.items() if not agree(told.get(name, []), states)]
    checks.equal("every post and comment went through its states in order, once", [], out_of_order[:5])
    return {"moves": len(moves), "claims": claimed}


def ends_like(told, states):
    """Whether something went through some of these states, in order and each once, to the last one."""
    rest = iter(states)
    return told[-1:] == states[-1:] and all(state in rest for state in told)


def wants(group, sent):
    """Whether a group takes events of the kind that a poison record claims to be."""
    kind = dict(sent["headers"])["ce_type"].decode()
    return group in GROUPS or kind.startswith(("post.", "comment."))


def check_letters(checks, cluster, poison):
    letters = {}
    for letter in cluster.read([topic for topic in cluster.topics() if topic.startswith("dlq.")]):
        letters.setdefault(facts(letter).get("id"), []).append(letter)
    problems, copies = [], 0
    for group in [*GROUPS, "postroom.search"]:
        for sent in (sent for sent in poison if wants(group, sent)):
            place = f"{group}/{sent['topic']}/{sent['partition']}/{sent['offset']}"
            found = letters.pop(place, [])
            copies += len(found)
            problems += [f"{place}: there is none"] if not found else []
            problems += [f"{place}: {p}" for letter in found for p in letter_problems(sent, letter, group)]
    checks.equal(f"all {len(poison)} poison records lie byte for byte in the dead letters of those who wanted them", [], problems[:10])
    checks.equal("no other letters", [], sorted(map(str, letters))[:10])
    return copies


def main():
    parser = arguments.with_events(arguments.parser(__doc__))
    parser.add_argument("--seconds", type=float, default=40, help="how long the producer takes")
    given = arguments.given(parser)

    checks = Checks()
    told = {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    with tempfile.TemporaryDirectory(prefix="postroom-members.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, config(given.kafka, folder))
        try:
            told = story(checks, cluster, postroom, folder / "postroom.db", given)
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members)
            checks.that("the run went through", False, f"{error}\n{logs}")
        finally:
            postroom.stop_all()
    sys.exit(checks.close(given.output, **told))


def story(checks, cluster, postroom, store, given):
    begin = time.monotonic()

    def tell(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    postroom.command("topics", "apply", "-c", str(postroom.config))
    killed, stopped, frozen = (postroom.start(name) for name in ("killed", "stopped", "frozen"))
    for member in (killed, stopped, frozen):
        wait_until(f"{member.name} is ready", member.ready, 60)
    with sqlite3.connect(store, timeout=10) as db:
        db.executescript(HISTORY)
    publisher = Publisher(cluster, given.path, given.seconds)
    sampler = Sampler(cluster, reader(store))
    tell("three members are ready")
    publisher.start()
    sampler.start()

    publisher.reach(0.15)
    killed.kill()
    tell("one was killed with SIGKILL")
    publisher.reach(0.25)
    joined = postroom.start("joined")
    wait_until("the one that joins is ready", joined.ready, 60)
    tell("one joined")
    publisher.reach(0.4)
    checks.equal("SIGTERM in mid-run drains and ends with 0", 0, stopped.terminate())
    tell("one was stopped with SIGTERM")
    publisher.reach(0.5)
    freeze_between_transactions(frozen, store)
    tell("one is frozen")
    before = claims(store)
    time.sleep(SESSION * 2)
    checks.that("its partitions went to others while it was frozen", claims(store) > before)
    frozen.signal(signal.SIGCONT)
    tell("it wakes")
    publisher.join(given.seconds + 60)
    if publisher.error:
        raise publisher.error
    tell(f"all {len(publisher.sent.records)} records are published")

    for group in GROUPS:
        cluster.wait_for(group, TOPICS, 90)
    tell("both groups have caught up")
    wait_until("the one that was frozen is ready again", frozen.ready, 60)
    for member in (joined, frozen):
        checks.equal(f"SIGTERM: {member.name} ends with 0", 0, member.terminate())
    sampler.over.set()
    sampler.join(30)

    checks.that("commits were sampled", sampler.samples > 100, str(sampler.samples))
    checks.equal("no commit was ahead of finished work", [], sampler.ahead(publisher.poison)[:5])
    history = check_history(checks, reader(store), publisher.sent.records)
    copies = check_letters(checks, cluster, publisher.poison)
    for table, (expected, found) in sample.tables(given.path, store).items():
        checks.equal(f"{table} equals the serial count", expected, found)
    return {"records": len(publisher.sent.records), "commits_sampled": sampler.samples, "dead_letters": copies, **history}


if __name__ == "__main__":
    main()
