#!/usr/bin/env python3
"""Three members on PostgreSQL and Apache Kafka, killed, stopped, frozen and restarted at random, and a database that crashes.

A real site's history and new posts, comments and people with mail are published over the whole time. Afterwards the tables
equal an independent serial count; the history of positions, which triggers in the database write, has no move backwards and
none by a former owner; a sampler saw no commit ahead; only the poison records are dead letters. Everybody who was to get
mail has it, and nobody has it twice but for what was on its way at a fault. --away SECONDS stops the database once in
mid-run instead, in order, and looks at what members say of it meanwhile.
"""

import itertools
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import threading
import time

import arguments
import sample
from checks import Checks
from cluster import Cluster, wait_until
from e2e_members import GROUPS, TOPICS, Publisher, Sampler, check_history, check_letters
from postgres import Postgres
from service import Postroom, member_config
from smtp import Sink
from writer import Writer

SESSION = 6.0
CONCURRENCY = 8
ALL = {**{group: TOPICS for group in GROUPS}, "postroom.mail": ["blog.mail"], "postroom.search": ["blog.posts", "blog.comments"]}

HISTORY = """
CREATE TABLE peer_history (
    n BIGSERIAL PRIMARY KEY, consumer_group TEXT, topic TEXT, partition INT,
    old_epoch BIGINT, new_epoch BIGINT, old_next BIGINT, new_next BIGINT
);
CREATE FUNCTION peer_move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO peer_history (consumer_group, topic, partition, old_epoch, new_epoch, old_next, new_next) VALUES
        (new.consumer_group, new.topic, new.partition, old.epoch, new.epoch, old.next_offset, new.next_offset);
    RETURN NULL;
END $$;
CREATE TRIGGER peer_moves AFTER UPDATE ON positions FOR EACH ROW EXECUTE FUNCTION peer_move();
CREATE TABLE peer_states (n BIGSERIAL PRIMARY KEY, kind TEXT, id TEXT, state BIGINT, since BIGINT);
CREATE FUNCTION peer_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO peer_states (kind, id, state, since) VALUES (TG_ARGV[0], new.id, new.state, new.since);
    RETURN NULL;
END $$;
CREATE TRIGGER peer_posts AFTER INSERT OR UPDATE OF state, since ON posts FOR EACH ROW EXECUTE FUNCTION peer_state('post');
CREATE TRIGGER peer_comments AFTER INSERT OR UPDATE OF state, since ON comments FOR EACH ROW EXECUTE FUNCTION peer_state('comment');
"""


def config(kafka, folder, url, sink):
    sqlite = f'url = "sqlite:{folder}/postroom.db"'
    return member_config(kafka, folder, SESSION).replace(sqlite, f'url = "{url}"') + f"""
[mail]
relay = "{sink.address}"
security = "plaintext"
from = "Harbour Notes <notes@blog.example>"
link = "https://blog.example/{{slug}}"

[effects.mail]
concurrency = {CONCURRENCY}
"""


class Place(threading.Thread):
    """Where one member after the other runs: each meets its end at random, and the next one follows."""

    def __init__(self, postroom, name, seed, tell):
        super().__init__(daemon=True)
        self.postroom, self.name, self.tell = postroom, name, tell
        self.random = random.Random(f"{seed} {name}")
        self.over = threading.Event()
        self.faults = {"killed": 0, "stopped": 0, "frozen": 0}
        self.codes, self.left, self.error = [], [], None
        self.number = 0
        self.next()

    def next(self):
        self.number += 1
        self.since = time.monotonic()
        self.member = self.postroom.start(f"{self.name}-{self.number}")

    def run(self):
        try:
            while not self.over.wait(self.random.uniform(3, 12)):
                self.fault()
        except Exception as error:  # told by the main thread
            self.error = error

    def fault(self):
        member = self.member
        if member.process.poll() is not None:
            # As a supervisor does it.
            self.left.append((member.name, member.process.returncode, self.since))
            self.tell(f"{member.name} ended by itself with {member.process.returncode}")
            self.next()
            return
        first = not any(self.faults.values())
        what = "killed" if first else self.random.choice(["killed", "killed", "stopped", "frozen"])
        pause = self.random.uniform(0, 2.5 * SESSION if what == "frozen" else 4)
        self.faults[what] += 1
        self.tell(f"{member.name} is {what}, for {pause:.1f} s")
        if what == "frozen":
            member.signal(signal.SIGSTOP)
            time.sleep(pause)
            member.signal(signal.SIGCONT)
            return
        if what == "killed":
            member.kill()
        else:
            self.codes.append((member.name, member.terminate()))
        time.sleep(pause)
        self.next()


def random_faults(checks, postroom, database, publisher, blog, given, tell):
    """Returns the members that run in the end, and how often what was done."""
    places = [Place(postroom, name, given.seed, tell) for name in ("one", "two", "three")]
    for place in places:
        wait_until(f"{place.member.name} is ready", place.member.ready, 60)
    publisher.start()
    blog.start()
    for place in places:
        place.start()
    chance, outages = random.Random(f"{given.seed} database"), []
    for number in range(given.restarts):
        publisher.reach((number + 1) / (given.restarts + 1))
        pause = chance.uniform(1, 6)
        outages.append([time.monotonic(), 0.0])
        database.crash()
        tell(f"the database crashed, for {pause:.1f} s")
        time.sleep(pause)
        database.back()
        outages[-1][1] = time.monotonic()
        tell("the database is back")
    publisher.reach(1.0)
    for place in places:
        place.over.set()
    for place in places:
        place.join(60)
        if place.error:
            raise place.error
        if place.member.process.poll() is not None:
            place.fault()
    faults = {what: sum(place.faults[what] for place in places) for what in places[0].faults}
    codes = [code for place in places for code in place.codes]
    checks.equal("SIGTERM ends with 0, or with 75 where work was left", [], [one for one in codes if one[1] not in (0, 75)])
    left = [one for place in places for one in place.left]
    # It looks at the tables as it starts: 69 tells that they are out of reach.
    odd = [one for one in left if one[1] != 69 or not any(begin - 10 < one[2] < end for begin, end in outages)]
    checks.equal("nobody ends by itself but who starts without a database", [], odd)
    told = {"left_work": sum(code == 75 for _, code in codes), "started_without_database": len(left)}
    return [place.member for place in places], faults, told


def waits_for_the_store(member):
    """What a member says of a database that is away: whether it is unready, and the verdicts of partitions with a backlog."""
    groups = member.status()["groups"]
    return not member.ready(), [
        (group["group"], one["topic"], one["partition"], one["summary"])
        for group in groups
        for one in group["partitions"]
        if (one["lag"] or 0) > 0
    ]


def database_away(checks, cluster, postroom, database, publisher, blog, given, tell):
    members = [postroom.start(name) for name in ("one", "two", "three")]
    for member in members:
        wait_until(f"{member.name} is ready", member.ready, 60)
    publisher.start()
    blog.start()
    publisher.reach(0.3)
    before = {group: sum(cluster.committed(group).values()) for group in ALL}
    database.pause()
    begin = time.monotonic()
    tell("the database is away")
    time.sleep(min(15.0, given.away / 2))
    unready, verdicts = set(), {}
    while time.monotonic() - begin < given.away:
        for member in members:
            ill, told = waits_for_the_store(member)
            unready |= {member.name} if ill else set()
            for group, topic, partition, summary in told:
                verdicts.setdefault((group, summary.split(" (")[0]), set()).add((topic, partition))
            member.get("/livez")
        time.sleep(1.0)
    after = {group: sum(cluster.committed(group).values()) for group in ALL}
    checks.equal("every member is unready meanwhile", {"one", "two", "three"}, unready)
    checks.equal(
        "every partition with a backlog waits for the store, by every group's word",
        {(group, "waiting-on store") for group in GROUPS},
        {told for told in verdicts if told[0] in GROUPS},
    )
    checks.that("no other verdict", all(word == "waiting-on store" for _, word in verdicts), str(sorted(verdicts)))
    tell(f"commits moved by {({group: after[group] - before[group] for group in ALL})}: only what was applied just before, or poison")
    database.back()
    tell("the database is back")
    backlog = {group: sum(e - (c or 0) for c, e in cluster.behind(group, ALL[group]).values()) for group in ALL}
    return members, backlog


def check_mail(checks, sink, expected, faults):
    got = {}
    for mail in list(sink.mails):
        place = (mail["to"][0], str(mail["headers"]["X-Postroom-Event"]))
        got.setdefault(place, []).append(mail["id"])
    checks.equal("everybody who was to get mail has it", [], sorted(expected - got.keys())[:5])
    checks.equal("nobody else got any", [], sorted(got.keys() - expected)[:5])
    checks.equal("who got one twice got the same one", [], [ids for ids in got.values() if len(set(ids)) > 1][:5])
    repeats = sum(len(ids) - 1 for ids in got.values())
    checks.that(
        "repeats stay within what was on its way at a fault", repeats <= faults * CONCURRENCY, f"{repeats} at {faults} faults"
    )
    return {"mails": sum(map(len, got.values())), "mail_repeats": repeats}


def story(checks, cluster, postroom, database, sink, given, tell):
    postroom.command("topics", "apply", "-c", str(postroom.config))
    if given.lines:
        with open(given.path, encoding="utf-8") as whole, (postroom.folder / "history.jsonl").open("w", encoding="utf-8") as part:
            part.writelines(itertools.islice(whole, given.lines))
        given.path = part.name
    publisher = Publisher(cluster, given.path, given.seconds)
    sampler = Sampler(cluster, database.query)
    first = postroom.start("first")
    wait_until("the tables are made", first.ready, 60)
    database.run(HISTORY)
    checks.equal("SIGTERM: the first ends with 0", 0, first.terminate())
    blog = Writer(cluster, postroom.folder / "written.jsonl", given.seed)
    blog.people(12)
    blog.goes_on = lambda: publisher.is_alive() or publisher.done == 0.0
    sampler.start()
    told, crashes = {"seed": given.seed, "seconds": given.seconds}, 0
    if given.away:
        members, backlog = database_away(checks, cluster, postroom, database, publisher, blog, given, tell)
        told |= {"away_seconds": given.away, "backlog": backlog}
    else:
        members, faults, ends = random_faults(checks, postroom, database, publisher, blog, given, tell)
        crashes = faults["killed"] + faults["frozen"] + given.restarts
        told |= {**faults, "database_crashes": given.restarts, **ends}
    calm = time.monotonic()
    if given.away:
        for group in ALL:
            # Not what is being published, but what lay there when it came back.
            ends = cluster.ends(ALL[group])
            wait_until(f"{group} is where the end was", lambda: past(cluster.committed(group), ends), 180)
            told.setdefault("caught_up_after_seconds", {})[group] = round(time.monotonic() - calm, 1)
        tell(f"caught up: {told['caught_up_after_seconds']}")
    publisher.join(given.seconds + 60)
    blog.join(60)
    for failed in (publisher.error, blog.error):
        if failed:
            raise failed
    tell(f"all {len(publisher.sent.records)} + {len(blog.sent.records)} records are published")
    expected = blog.expected(given.path)
    for group in GROUPS:
        cluster.wait_for(group, TOPICS, 120)
    wait_until("all mail has arrived", lambda: sink.distinct() >= len(expected), 120)
    for group in ALL:
        cluster.wait_for(group, ALL[group], 120)
    told["settled_after_seconds"] = round(time.monotonic() - calm, 1)
    tell(f"all groups have caught up, and {sink.count()} mails are there")
    for member in members:
        wait_until(f"{member.name} is ready in the end", member.ready, 60)
        checks.equal(f"SIGTERM: {member.name} ends with 0", 0, member.terminate())
    sampler.over.set()
    sampler.join(30)
    checks.that("commits were sampled", sampler.samples > 100, str(sampler.samples))
    checks.equal("no commit was ahead of finished work", [], sampler.ahead(publisher.poison)[:5])
    told |= check_history(checks, database.query, publisher.sent.records, units=True)
    copies = check_letters(checks, cluster, publisher.poison)
    for table, (counted, found) in sample.differences(blog.counted(given.path), database.query).items():
        checks.equal(f"{table} equals the serial count", counted, found)
    told |= check_mail(checks, sink, expected, crashes)
    return {**told, "records": len(publisher.sent.records) + len(blog.sent.records), "commits_sampled": sampler.samples, "dead_letters": copies}


def past(committed, ends):
    return all(committed.get(place, 0) >= end for place, end in ends.items())


def main():
    parser = arguments.with_events(arguments.parser(__doc__))
    parser.add_argument("--lines", type=int, help="take so many of them alone")
    parser.add_argument("--seconds", type=float, default=30, help="how long is published")
    parser.add_argument("--minutes", type=float, help="the same in minutes")
    parser.add_argument("--restarts", type=int, default=1, help="how often the database crashes")
    parser.add_argument("--away", type=float, help="no faults at random: the database is away once, for so many seconds")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="repeats the choice of faults")
    parser.add_argument("--keep", metavar="FOLDER", help="where logs go when something failed")
    given = arguments.given(parser)
    given.seconds = given.minutes * 60 if given.minutes else given.seconds
    begin = time.monotonic()

    def tell(what):
        print(f"{time.monotonic() - begin:6.1f} s  {what}", flush=True)

    tell(f"--seed {given.seed}")
    checks, told = Checks(), {}
    cluster = Cluster(given.kafka)
    cluster.clean()
    sink = Sink()
    sink.back()
    database = Postgres()
    with tempfile.TemporaryDirectory(prefix="postroom-members.") as name:
        folder = pathlib.Path(name)
        postroom = Postroom(given.postroom, folder, config(given.kafka, folder, database.url, sink))
        try:
            told = story(checks, cluster, postroom, database, sink, given, tell)
        except (RuntimeError, TimeoutError, AssertionError) as error:
            logs = "\n".join(f"--- {member.name}\n{member.tail()}" for member in postroom.members[-4:])
            checks.that("the run went through", False, f"{error}\n{logs}")
        finally:
            postroom.stop_all()
            sink.away()
            database.close()
            if checks.failed and given.keep:
                shutil.copytree(folder, given.keep, dirs_exist_ok=True)
    sys.exit(checks.close(given.output, **told))


if __name__ == "__main__":
    main()
